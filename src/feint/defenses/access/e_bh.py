"""Benjamini-Hochberg procedure for e-values, without torch."""

import numpy as np


def e_bh(e_values: np.ndarray, level: float) -> np.ndarray:
    """Return which null hypotheses are rejected, at a false discovery rate of at most `level`.

    Of K e-values the k largest are rejected, for the largest k such that the k-th is at least K / (level · k). The
    bound holds under any dependence among them (Wang and Ramdas, JRSS-B 2022).

    Args:
        e_values: E-values, (K,): each is at most 1 in expectation where its hypothesis is true.
        level: False discovery rate, between 0 and 1.

    Returns:
        A mask, (K,) bool.
    """
    ranks = np.empty(len(e_values), int)
    ranks[np.argsort(-e_values, kind="stable")] = np.arange(1, len(e_values) + 1)
    rejects = e_values >= len(e_values) / (level * ranks)
    return ranks <= ranks[rejects].max(initial=0)
