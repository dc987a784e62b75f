"""Thresholds calibrated on clients: a quantile of the highest evidence of clients who were in shadow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from feint.errors import BadInput

LEAST = 1e-9  # a threshold is above 0, where everybody stands
CONFIDENCE = 0.95


@dataclass(frozen=True)
class ClientThreshold:
    """Threshold of evidence that fewer than a share of clients reach.

    Let e be the highest evidence of N clients, k = ⌊share · (N + 1)⌋, and the threshold the least number above the
    k-th largest e. A further client who is exchangeable with these reaches it with probability at most k/(N + 1), on
    average over the N clients, whatever the distribution and however the queries of one client depend on each other.
    Given these N clients, that probability is at most that of a Beta(k, N + 1 − k) variable; `bound` is its quantile.
    Both are order statistics (Vovk, ICML 2012, "Conditional validity of inductive conformal predictors").

    The clients stay as long as those did: evidence is a maximum, and grows with the time that a client has.

    Attributes:
        level: The threshold.
        clients: Number N of clients.
        share: Share of clients that was asked for.
        average: k/(N + 1).
        bound: Upper bound of the probability for these clients, with confidence 95 %.
    """

    level: float
    clients: int
    share: float
    average: float
    bound: float


def threshold(evidence: Sequence[float], share: float = 0.01) -> ClientThreshold:
    """Return the threshold that fewer than a share of such clients reach.

    Args:
        evidence: Highest evidence of each client, (N,), in any order.
        share: Share of clients, in (0, 1).

    Returns:
        The threshold.

    Raises:
        BadInput: There are too few clients, or the share is none.
    """
    if not 0 < share < 1:
        raise BadInput(f"a share of {share:g}", "a number between 0 and 1", "change it")
    n = len(evidence)
    k = math.floor(share * (n + 1) + 1e-9)  # 0.01 · 100 is below 1 in floating point
    if k < 1:
        needed = math.ceil(1 / share - 1e-9) - 1
        raise BadInput(
            f"{n:,} clients for a share of {share:g}", f"{needed:,} or more: N promise no share below 1/(N + 1)",
            "stay in shadow longer, or ask for a larger share",
        )  # fmt: skip
    level = math.nextafter(max(sorted(evidence)[n - k], LEAST), math.inf)
    return ClientThreshold(level, n, share, k / (n + 1), upper_bound(k - 1, n))


def upper_bound(reached: int, clients: int, confidence: float = CONFIDENCE) -> float:
    """Return the Clopper-Pearson upper bound of a probability.

    Args:
        reached: Number of clients who reached a level that was set without looking at them.
        clients: Number of clients.
        confidence: Confidence of the bound, one-sided.

    Returns:
        The largest p with P(Binomial(clients, p) ≤ reached) ≥ 1 − confidence.
    """
    if reached >= clients:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):  # to the last bits of a double
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(reached, clients, middle) >= 1 - confidence else (low, middle)
    return high


def _at_most(k: int, n: int, p: float) -> float:
    """Return P(Binomial(n, p) ≤ k) for 0 < p < 1."""
    logs = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))
