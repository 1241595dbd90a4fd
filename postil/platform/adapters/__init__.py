"""Trained adapters: published, named, shared, downloaded, served."""
