"""Lenses: an oracle in, a clearer oracle out."""
