"""Experiments: the commands that make the published tables, their rows kept in results/."""
