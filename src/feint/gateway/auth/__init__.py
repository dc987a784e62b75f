"""Who may ask: API keys, kept as hashes."""
