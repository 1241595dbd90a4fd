"""Batches, optimizer, checkpoints and the loop."""
