"""Models behind any JSON API, and recorded services.

A `victim.toml` describes each.
"""
