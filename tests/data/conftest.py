"""Some tests go the whole way, from a file to what the shell says of it."""

from tests.cli.conftest import shell

__all__ = ["shell"]
