"""Check of decision trees, whose nodes their libraries follow without a look."""

from typing import Any

import numpy as np


def check_nodes(
    left: Any, right: Any, feature: Any, features: int, *, is_inner: Any = True, count: int | None = None
) -> None:
    """Check that no node of a tree leads out of it, back, or to no feature.

    Args:
        left: Left child of each node, (N,).
        right: Right child of each node, (N,).
        feature: Feature by which each node splits, (N,).
        features: Number of features.
        is_inner: Whether each node splits, (N,); the others are leaves, of which nothing is followed.
        count: Number of nodes that may be led to, if more than N.

    Raises:
        ValueError: A node does.
    """
    children, feature = np.array([left, right], np.int64), np.array(feature, np.int64)
    nodes = np.arange(children.shape[1])
    invalid = (children <= nodes) | (children >= (count or len(nodes))) | (feature < 0) | (feature >= features)
    if (invalid & is_inner).any():
        raise ValueError("a tree whose nodes lead out of it")
