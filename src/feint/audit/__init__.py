"""Audit of a model: worst-case theft by budget, and a recommendation."""
