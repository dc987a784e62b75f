"""Bets on p-values: what they pay, and the prices at which no benign client is expected to win."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from feint.defenses.access.martingale import Martingale

POWERS = tuple(i / 20 for i in range(1, 20))
LEVELS = 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2
STEPS = tuple((at, pays) for at in LEVELS for pays in (1.3, 2.0, 4.0, 8.0) if at * pays < 1)
TOPS = tuple((at, pays, top) for at in (0.01, 0.05) for pays in (2.0, 4.0) for top in (0.25, 0.5, 0.75))
WINDOW_POWERS = 0.1, 0.3, 0.5, 0.7, 0.9  # of windows, which are few, so that a bet has to pay more at once
WINDOW_STEPS = (0.01, 16.0), (0.02, 16.0), (0.02, 40.0), (0.05, 8.0), (0.2, 3.0)
SHARES = 1.0, 0.5, 0.25, 0.1, 0.05  # π, of suspicious queries, for the learned bets
BINS = 40  # of the learned bet, each a fixed part narrower than the next
DRAWS = 10_000  # simulated calibration sets


def payments(p: Tensor, outliers: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what each bet pays, and the bets' weights.

    Args:
        p: The p-values, (n + 1,), rising.
        outliers: Ranks of outliers, (m,) from 0 to n, for the learned bets; None for none.

    Returns:
        Payments, (n + 1, bets), and weights, (bets,): each kind of bets has the same share.
    """
    kinds = [
        [power * p ** (power - 1) for power in POWERS],
        [_step(p, *step) for step in STEPS],
        [_indifferent(p, *top) for top in TOPS],
    ]
    if outliers is not None:
        density = falling(p, outliers)
        kinds.append([1 - share + share * density for share in SHARES])
    return _weighted(kinds)


def window_payments(p: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each bet on a window pays, (n + 1, bets), at p-values (n + 1,), and the bets' weights, (bets,)."""
    powers = [power * p ** (power - 1) for power in WINDOW_POWERS]
    return _weighted([powers, [_step(p, *step) for step in WINDOW_STEPS]])


def priced_bets(learned: Mapping[str, Tensor], alpha: float) -> Martingale:
    """Return the bets on the ranks of windows among "inputs", rising, at their "prices"."""
    paid, weights = window_payments(levels(len(learned["inputs"])))
    won = (paid / learned["prices"]).log()
    return Martingale(learned["inputs"].numpy(), won.numpy(), weights.numpy(), alpha)


def levels(n: int) -> Tensor:
    """Return the p-values 1 / (n + 1), …, 1."""
    return torch.arange(1, n + 2, dtype=torch.float64) / (n + 1)


def _weighted(kinds: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
    """Return all bets, (n + 1, bets), and their weights, (bets,): each kind has the same share."""
    shares = [torch.full((len(bets),), 1 / len(bets) / len(kinds), dtype=torch.float64) for bets in kinds]
    return torch.stack([bet for bets in kinds for bet in bets], -1), torch.cat(shares)


def _step(p: Tensor, at: float, pays: float) -> Tensor:
    return torch.where(p <= at, pays, (1 - pays * at) / (1 - at))


def _indifferent(p: Tensor, at: float, pays: float, top: float) -> Tensor:
    """Return what a bet pays that the most ordinary queries, of p above 1 − `top`, neither win nor lose.

    Ordinary queries that lose a bet pay back what suspicious ones won. From this one the most ordinary cannot.
    """
    between = 1 - at * (pays - 1) / (1 - at - top)
    return torch.where(p <= at, pays, torch.where(p > 1 - top, 1.0, between)).to(p.dtype)


def prices(paid: Tensor, delta: float, tolerance: float = 1.0, draws: int = DRAWS) -> Tensor:
    """Bound the mean payment of each bet to benign queries, given the calibration set.

    The bound holds for all bets at once with probability 1 − delta over calibration sets. It is taken from simulated
    sets: each bet's price has the same rank among its averages, the least rank for which all hold in 1 − delta of the
    sets and 3 standard errors more. With a `tolerance` t benign scores fall below the k-th calibration score with
    probability min(1, t U_(k)).

    Args:
        paid: Payment of each bet at each p-value, (n + 1, bets).
        delta: Probability with which a price may be too low.
        tolerance: t ≥ 1.
        draws: Number of simulated sets.

    Returns:
        Prices, (bets,).
    """
    generator = torch.Generator().manual_seed(0)
    averages = []
    for _ in range(math.ceil(draws / 500)):
        gaps = torch.empty(500, len(paid), dtype=torch.float64).exponential_(generator=generator)
        gaps /= gaps.sum(-1, keepdim=True)
        if tolerance > 1:
            below = (tolerance * gaps.cumsum(-1)).clamp_max(1)
            gaps = below.diff(dim=-1, prepend=below.new_zeros(len(below), 1))
        averages.append(gaps @ paid)
    return joint_quantile(torch.cat(averages), delta)


def joint_quantile(drawn: Tensor, delta: float) -> Tensor:
    """Return for each bet an upper quantile, for all bets at once: of the same rank, and 3 standard errors higher.

    Args:
        drawn: Simulated averages, (draws, bets).
        delta: Probability with which one of the quantiles is exceeded.

    Returns:
        The quantiles, (bets,).
    """
    ordered, order = drawn.sort(dim=0)
    ranks = torch.empty_like(order).scatter_(0, order, torch.arange(len(drawn))[:, None].expand_as(order))
    level = 1 - delta + 3 * math.sqrt(delta * (1 - delta) / len(drawn))
    worst = ranks.amax(-1).sort().values[min(len(drawn) - 1, math.ceil(level * len(drawn)))]
    return ordered[worst]


def falling(p: Tensor, places: Tensor) -> Tensor:
    """Estimate a falling density at p-values from the ranks of outliers among them (Grenander's estimate).

    The density is the slope of the least concave majorant of the outliers' distribution function, here on `BINS` bins.

    Args:
        p: The p-values, (n + 1,), rising.
        places: Ranks of the outliers, (m,) from 0 to n.

    Returns:
        The density at each p-value, (n + 1,), at least 1e-6.
    """
    narrow = torch.linspace(0, 1, BINS, dtype=p.dtype)
    edges = torch.cat([p.new_zeros(1), p[0] * (1 / p[0]) ** narrow])
    hits = p[places].sort().values
    share = torch.searchsorted(hits, edges, right=True).to(p.dtype) / len(hits)
    corners = [0]
    for i in range(1, len(edges)):
        while len(corners) > 1 and _slope(edges, share, corners[-1], i) >= _slope(edges, share, *corners[-2:]):
            corners.pop()
        corners.append(i)
    slopes = share[corners].diff() / edges[corners].diff()
    return slopes[torch.searchsorted(edges[corners][1:], p).clamp_max(len(slopes) - 1)].clamp_min(1e-6)


def _slope(x: Tensor, y: Tensor, i: int, j: int) -> float:
    return ((y[j] - y[i]) / (x[j] - x[i])).item()
