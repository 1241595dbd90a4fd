"""The corrected file, in the user's own format: the original with an overlay's changes written into it."""
