"""Recipes: frozen dataclasses, their spelling, registry and storage."""
