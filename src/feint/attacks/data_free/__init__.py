"""Attacks that query with the images of a generator and need no data."""
