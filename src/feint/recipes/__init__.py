"""Recipes: frozen dataclasses, their text form, registry and storage."""
