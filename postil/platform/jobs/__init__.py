"""Requests for training: submitted, claimed, run, retried, ended."""
