"""From a file to packs of whole examples. Nothing here knows torch."""
