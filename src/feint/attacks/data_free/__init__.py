"""Attacks that query with generated images and need no data."""
