"""Attacks that query with a generator's output and need no data."""
