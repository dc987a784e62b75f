"""Suites, the matrices of their cells, and the bench that runs them."""

from feint.bench.load import load, place, shipped
from feint.bench.suite import Suite

__all__ = ["Suite", "load", "place", "shipped"]
