"""Who signs in, and with what."""
