"""Calls that cost something: their price and ceiling, their answers, and Ctrl-C while one is under way."""
