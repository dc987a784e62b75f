"""Measurements beside the product: its speed, the gateway under load, and tables that no suite can express."""
