"""Shapiro–Wilk statistic of normality, 1 for a perfect fit (Shapiro and Wilk, Biometrika 1965).

W alone, with Royston's approximate coefficients (algorithm AS R94, Applied Statistics 1995); no p-value is needed here.
docs/background/design/detectors.md gives the reason why this is not SciPy's.
"""

import functools

import numpy as np
import torch

LEAST = 6  # values; below, Royston's coefficients have another form
LAST = -2.706056, 4.434685, -2.071190, -0.147981, 0.221157, 0.0  # polynomials in 1/√n, as published
NEXT = -3.582633, 5.682633, -1.752461, -0.293762, 0.042981, 0.0


@functools.lru_cache(maxsize=1024)
def coefficients(n: int) -> np.ndarray:
    """Return the weights (n // 2,) of the differences between the i-th largest and the i-th least of `n` ≥ 6 values."""
    ranks = torch.arange(n, n - n // 2, -1, dtype=torch.float64)
    normal = torch.special.ndtri((ranks - 0.375) / (n + 0.25)).numpy()  # expected order statistics, largest first
    square = 2 * (normal @ normal)
    first, second = (normal[i] / square**0.5 + np.polyval(c, n**-0.5) for i, c in enumerate((LAST, NEXT)))
    rest = (square - 2 * (normal[:2] @ normal[:2])) / (1 - 2 * first**2 - 2 * second**2)
    return np.concatenate([[first, second], normal[2:] / rest**0.5])


def shapiro_w(values: np.ndarray) -> float:
    """Return W of `values` (n,) float64, n ≥ 6, rising; 1.0 where all are equal, which is no evidence."""
    if values[0] == values[-1]:
        return 1.0
    half, centred = len(values) // 2, values - values.mean()
    return float((coefficients(len(values)) @ (values[-half:][::-1] - values[:half])) ** 2 / (centred @ centred))
