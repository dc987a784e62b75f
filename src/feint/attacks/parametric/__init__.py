"""Attacks that recover parameters of linear models, networks, trees."""
