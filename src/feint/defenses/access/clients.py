"""Thresholds calibrated on clients: a quantile of the highest evidence of clients who were in shadow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from feint.defenses.access.binomial import upper_bound
from feint.errors import BadInput

LEAST = 1e-9  # a threshold is above 0, where everybody stands


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
