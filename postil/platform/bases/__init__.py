"""Base models: which are allowed, which fit, and how they come here."""
