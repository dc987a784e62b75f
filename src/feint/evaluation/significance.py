"""Difference between two cells that chance explains: other seeds, another test set of the same size."""

import math
from collections.abc import Sequence

import numpy as np

from feint.evaluation.results import Row

SPREAD = 1.3  # see `variance`
LEVEL = 1.96  # standard deviations of a 95 % interval


def share(rows: Sequence[Row], score: str = "stealer_accuracy") -> float:
    """Return the mean of a score over the seeds of a cell."""
    return float(np.mean([row.scores[score] for row in rows]))


def variance(rows: Sequence[Row], score: str = "stealer_accuracy") -> float:
    """Estimate the variance of a cell's mean share p over S seeds, counted on n test inputs after b queries.

        max(s², 1.3 · p(1 − p)/b)/S + p(1 − p)/n

    s² is the variance between the cell's seeds, where there are two or more. One seed has no variance and three
    estimate it badly. So s² is taken to be at least what it is on average in the cells with three seeds of the suites
    quick, fashion_mnist and cifar10 (docs/reference/checks.md).

    Args:
        rows: The rows of one cell, one for each seed.
        score: The score, a share in [0, 1].

    Returns:
        The variance of the mean.
    """
    p, n = share(rows, score), rows[0].scores["n_test"]
    binomial = (q := (n * p + 0.5) / (n + 1)) * (1 - q)  # Jeffreys: nothing is certain
    between = float(np.var([row.scores[score] for row in rows], ddof=1)) if len(rows) > 1 else 0.0
    return max(between, SPREAD * binomial / rows[0].budget) / len(rows) + binomial / n


def noise(some: Sequence[Row], others: Sequence[Row], score: str = "stealer_accuracy") -> float:
    """Compute half the 95 % interval of the difference between the means of two cells.

    The cells are taken to be independent. They share their test set and often their seeds, so that the interval is
    rather too wide: a difference that exceeds it is more than noise.

    Args:
        some: The rows of one cell.
        others: The rows of the other cell.
        score: The score, a share in [0, 1].

    Returns:
        Half the width of the interval, in [0, 1].
    """
    return LEVEL * math.sqrt(variance(some, score) + variance(others, score))
