"""Answers over HTTP: one resident base, adapters that come and go, many requests at once."""
