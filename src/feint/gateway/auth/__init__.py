"""API keys and the clients that they stand for.

Keys are kept as hashes.
"""
