"""The whole road in one function."""
