"""Suites: a TOML file that says which victims, defenses, attacks and lenses meet, with which budgets and seeds."""

from feint.bench.load import load, place, shipped
from feint.bench.suite import Suite

__all__ = ["Suite", "load", "place", "shipped"]
