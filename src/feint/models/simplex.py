"""Checks of probabilities, given as NumPy arrays or torch tensors."""

from typing import Any


def on_simplex(p: Any, tolerance: float = 1e-3) -> bool:
    """Return whether every row of `p` (N, K) is ≥ 0 and sums to 1 within `tolerance`; NaN never is."""
    return not len(p) or bool(p.min() >= 0 and abs(p.sum(-1) - 1).max() <= tolerance)
