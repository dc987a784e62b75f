"""Attacks that query with inputs synthesised from a few seeds."""
