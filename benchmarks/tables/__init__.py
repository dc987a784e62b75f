"""Published tables that no suite can express: `python -m benchmarks.tables [TABLE ...]` makes their rows."""
