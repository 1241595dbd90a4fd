"""What the adapter can do that the base cannot, with an interval."""
