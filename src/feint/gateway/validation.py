"""Validation of the outputs of models and defenses."""

from typing import Any

import numpy as np

from feint.errors import Failed
from feint.gateway.array_query import Array
from feint.models.simplex import on_simplex


def check_probabilities(p: Any, rows: int, classes: int) -> Array:
    """Check that an answer is probabilities.

    Args:
        p: The answer, an array (N, K).
        rows: N.
        classes: K.

    Returns:
        `p` in float32.

    Raises:
        Failed: If its shape is another one, or a row is not on the simplex; the error holds none of its values.
    """
    if getattr(p, "shape", None) != (rows, classes):
        raise Failed("an answer of another shape", f"({rows}, {classes})", "tell the operator")
    if not on_simplex(p):
        raise Failed("rows that are no probabilities", "rows on the simplex", "tell the operator")
    return p.astype(np.float32, copy=False)
