"""Calls that cost something: price, ceiling and kept answers.

Ctrl-C loses no call that is under way.
"""
