"""Whether an array is what a model's answer has to be."""

from typing import Any

import numpy as np

from feint.errors import Failed
from feint.gateway.array_query import Array
from feint.probabilities import on_simplex


def probabilities(p: Any, rows: int, classes: int) -> Array:
    """`p` (N, K) in float32, where its rows are on the simplex. Raises `Failed`, which holds none of its values."""
    if getattr(p, "shape", None) != (rows, classes):
        raise Failed("an answer of another shape", f"({rows}, {classes})", "tell the operator")
    if not on_simplex(p):
        raise Failed("rows that are no probabilities", "rows on the simplex", "tell the operator")
    return p.astype(np.float32, copy=False)
