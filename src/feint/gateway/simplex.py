"""Whether an array is what a model's answer has to be."""

from typing import Any

import numpy as np

from feint.errors import Failed
from feint.gateway.array_query import Array


def probabilities(p: Any, rows: int, classes: int) -> Array:
    """`p` (N, K) in float32, where its rows are on the simplex. Raises `Failed`, which holds none of its values."""
    if getattr(p, "shape", None) != (rows, classes):
        raise Failed("an answer of another shape", f"({rows}, {classes})", "tell the operator")
    if rows and not (p.min() >= 0 and p.max() <= 2 and np.abs(p.sum(-1) - 1).max() < 1e-3):  # of NaN none is true
        raise Failed("rows that are no probabilities", "rows on the simplex", "tell the operator")
    return p.astype(np.float32, copy=False)
