"""Models behind any JSON API, and recorded services, described by a `victim.toml`."""
