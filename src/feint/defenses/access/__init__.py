"""Access rules: may you ask, and at what price? `(query, account) -> None`, or raises `Refused`."""

from feint.defenses.access.budget import Budget

__all__ = ["Budget"]
