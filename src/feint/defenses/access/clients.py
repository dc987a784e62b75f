"""Thresholds calibrated on clients: what such a client reaches, or how many of their answers change."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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

    `BadInput` is raised where there are too few clients, or the share is none.

    Args:
        evidence: Highest evidence of each client, (N,), in any order.
        share: Share of clients, in (0, 1).

    Returns:
        The threshold.
    """
    n = len(evidence)
    k = _allowed(n, share)
    level = math.nextafter(max(sorted(evidence)[n - k], LEAST), math.inf)
    return ClientThreshold(level, n, share, k / (n + 1), upper_bound(k - 1, n))


@dataclass(frozen=True)
class ProbationLevel:
    """Level of p-values below which at most a share of an honest newcomer's answers change, in expectation.

    Let l_i(λ) be the share of the answers to the i-th of N newcomers that change at the level λ. The level is the
    largest λ with (Σ_i l_i(λ) + 1) / (N + 1) ≤ share. A further newcomer who is exchangeable with these expects
    that at most this share of their answers changes, however the queries of one newcomer depend on each other
    (Angelopoulos, Bates, Fisch, Lei and Schuster, ICLR 2024, "Conformal risk control").

    Attributes:
        level: The level λ, from 0 to 1.
        clients: Number N of newcomers.
        share: Share of answers that was asked for.
        average: (Σ_i l_i(λ) + 1) / (N + 1).
    """

    level: float
    clients: int
    share: float
    average: float


def probation_level(p_values: Sequence[Sequence[float]], share: float = 0.01) -> ProbationLevel:
    """Return the level below which at most a share of such a newcomer's answers change.

    `BadInput` is raised where there are too few newcomers, or the share is none.

    Args:
        p_values: For each newcomer the p-value of their queries until then, after each, (n_i,).
        share: Share of answers, in (0, 1).

    Returns:
        The level.
    """
    n = len(p_values)
    _allowed(n, share)
    p = np.concatenate(p_values)
    order = p.argsort()
    lost = np.concatenate([np.full(len(part), 1 / len(part)) for part in p_values])[order].cumsum()
    allowed = int(np.searchsorted(lost, share * (n + 1) - 1, side="right"))  # answers that may change
    level = 1.0 if allowed == len(p) else p[order][allowed].item()
    changed = sum(np.less(part, level).mean().item() for part in p_values)
    return ProbationLevel(level, n, share, (changed + 1) / (n + 1))


def _allowed(clients: int, share: float) -> int:
    """Return ⌊share · (N + 1)⌋. Raises `BadInput` where it is 0, or the share is none."""
    if not 0 < share < 1:
        raise BadInput(f"a share of {share:g}", "a number between 0 and 1", "change it")
    k = math.floor(share * (clients + 1) + 1e-9)  # 0.01 · 100 is below 1 in floating point
    if k < 1:
        needed = math.ceil(1 / share - 1e-9) - 1
        raise BadInput(
            f"{clients:,} clients for a share of {share:g}", f"{needed:,} or more: N promise no share below 1/(N + 1)",
            "stay in shadow longer, or ask for a larger share",
        )  # fmt: skip
    return k
