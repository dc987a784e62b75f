"""The operator's read-only page."""
