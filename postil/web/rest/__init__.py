"""REST: one file per noun; each is a thin road from a request to a verb of the platform."""
