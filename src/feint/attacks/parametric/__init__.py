"""Attacks that recover parameters: of linear models, small networks and trees."""
