"""Suites: a TOML file that says which victims, defenses, attacks and lenses meet, with which budgets and seeds."""

from feint.suite.read import load, place, shipped
from feint.suite.suite import Suite

__all__ = ["Suite", "load", "place", "shipped"]
