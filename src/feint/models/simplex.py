"""Probabilities and other scores of classes, told apart by their values."""

from typing import Any

import numpy as np


def on_simplex(p: Any, tolerance: float = 1e-3) -> bool:
    """Return whether every row of `p` (N, K) is ≥ 0 and sums to 1 within `tolerance`; NaN never is."""
    return not len(p) or bool(p.min() >= 0 and abs(p.sum(-1) - 1).max() <= tolerance)


def kind_of_scores(scores: Any, tolerance: float = 1e-3) -> str:
    """Return what a model's scores are, judged by its answers to several inputs.

    Args:
        scores: Finite scores (N, K), K ≥ 2, as an array or a tensor on the processor.
        tolerance: Most by which the sum of a row of probabilities differs from 1.

    Returns:
        "probabilities", "log-probabilities", "sigmoids" (numbers in [0, 1] whose rows sum to others than 1), or
        "logits". Constant scores count as logits unless they are probabilities or their logarithms.
    """
    z = np.asarray(scores, np.float64)
    if on_simplex(z, tolerance):
        return "probabilities"
    low, high = z.min(), z.max()
    if high <= tolerance and on_simplex(np.exp(z), tolerance):
        return "log-probabilities"
    return "sigmoids" if 0 <= low < high <= 1 else "logits"
