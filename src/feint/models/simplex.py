"""Probabilities and other scores of classes: their kinds, and what they tell."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # a gateway without torch reads this module
    from torch import Tensor

NOTHING = 1e-12  # nats of information that count as none
TINY = np.finfo(np.float32).tiny.item()


def on_simplex(p: Any, tolerance: float = 1e-3) -> bool:
    """Return whether every row of `p` (N, K) is ≥ 0 and sums to 1 within `tolerance`; NaN never is."""
    if isinstance(p, np.ndarray) and p.shape[0] == 1:  # four functions of NumPy take longer than a list of one row
        row = p[0].tolist()
        return min(row) >= 0 and abs(sum(row) - 1) <= tolerance
    return not len(p) or bool(p.min() >= 0 and abs(p.sum(-1) - 1).max() <= tolerance)


def finite_log(p: "Tensor") -> "Tensor":
    """Return the logarithms of probabilities (N, K), where a 0 counts as the least normal number of their type."""
    import torch

    return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def log_probabilities(p: "Tensor") -> "Tensor":
    """Return the logarithms of probabilities (N, K) as logits, after each row is divided by its sum.

    A 0 counts as the least float. Without the division the energy of a model that rounds its probabilities, to rows
    that sum to 0.99 or 1.01, would be nothing but the rounding.
    """
    q = p.clamp_min(TINY)
    return (q / q.sum(-1, keepdim=True)).log()


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


def kl(q: "Tensor", p: "Tensor") -> float:
    """Return the mean KL(q ‖ p) in nats, with probabilities below 1e-12 counted as 1e-12."""
    q, p = q.double(), p.double()
    return (q * (q.clamp_min(1e-12).log() - p.clamp_min(1e-12).log())).sum(-1).mean().item()


def share_explained(p: "Tensor", q: "Tensor") -> float | None:
    """Return 1 − mean KL(p ‖ q) / mean KL(p ‖ mean p): how much of the rows `p` (N, K) the rows `q` reproduce.

    Returns:
        1 for all of `p`, 0 for no more than its mean; None where all rows of `p` are equal.
    """
    information = kl(p, p.double().mean(0).expand_as(p))
    return 1 - kl(p, q) / information if information > NOTHING else None
