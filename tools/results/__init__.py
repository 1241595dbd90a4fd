"""Scripts that make the pages under docs/results/ from real runs."""
