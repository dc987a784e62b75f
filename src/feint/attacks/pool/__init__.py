"""Attacks that query with real inputs from a pool."""
