"""Audit of a model: worst-case theft by query budget, the effect of each defense, and a recommendation."""
