"""Sequential test of a client's queries, valid after every query and for as long as the client stays."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from feint.defenses.access.martingale import Martingale, places
from feint.defenses.scores import Energy, Score, calibrate, scores
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.fitting import FitContext, Fittable
from feint.ledger import Account
from feint.query import Query
from feint.recipes.store import Weights
from feint.victims import logits

POWERS = tuple(i / 20 for i in range(1, 20))
SHARES = 1.0, 0.5, 0.25, 0.1, 0.05  # π, of suspicious queries, for the learned bets
BINS = 40  # of the learned bet, each a fixed part narrower than the next
DRAWS = 10_000  # simulated calibration sets


@dataclass(frozen=True)
class SequentialTest(Fittable):
    """Test martingale of conformal p-values: an honest client is ever accused with probability at most `alpha`.

    The score s of a query is compared with those of n benign inputs: k = 1 + #{c_i ≤ s}, p = k / (n + 1). Scores that
    only the last bits of an output keep apart count as equal, so that p is never too small. A bet is a falling function
    b of p, sold at a price that a benign client is expected not to win back. Evidence is the mean over bets, and over
    the blocks of `block` queries with which each may have begun, of the winnings::

        M_t = Σ_j w_j mean_b Π_(i in blocks ≥ j) b(p_i) / price(b),    evidence = log M_t / log(1/alpha)

    The owner has one calibration set, and p is uniform only on average over many. The mean payment of a bet *given* the
    set is Σ_k b(p_k) D_k with D uniform on the simplex of n + 1 gaps, whatever the scores' distribution. The price is a
    quantile of that, for all bets at once right with probability 1 − `delta`. By Ville's inequality M then ever reaches
    1/alpha with probability ≤ alpha, whenever one looks (+ delta, once, for the calibration set).

    Bets are ε p^(ε−1). With `outliers` in `fit` there are also 1 − π + π h(p) with h learned from them, for clients who
    send a share π of such queries.

    The test assumes that honest queries are exchangeable with the calibration set, on which the victim must not have
    been trained. Repeats within an hour count once. A service runs a `Martingale`: two numbers for each bet in the
    account. Composed for this project (docs/background/design/evidence.md) from conformal test martingales (Vovk,
    Nouretdinov and Gammerman, ICML 2003); it is not a method of that paper.

    Attributes:
        score: Score of a query, low where it is suspicious; `fit` replaces the energy by the largest probability for a
            model that returns probabilities.
        alpha: Probability with which an honest client may ever be accused.
        delta: Probability with which the calibration set may break that promise.
        tolerance: Factor t ≥ 1: prices hold for honest clients whose scores may be as low as any level up to t times as
            often as the calibration set's.
        block: Queries in a block, 1 or more.
        benign: Scores of `inputs` and `outliers`, and the number of classes, set by `fit`.
    """

    cite: ClassVar[str] = "vovk2003testing"
    exportable: ClassVar[bool] = True
    score: Score = Energy()
    alpha: float = 1e-3
    delta: float = 5e-3
    tolerance: float = 1.0
    block: int = 500
    benign: Weights | None = None

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 < self.delta < 1 and self.tolerance >= 1 and self.block >= 1):
            raise BadRecipe(repr(self), "0 < alpha, delta < 1, tolerance ≥ 1 and block ≥ 1", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this test calibrated on benign inputs; outliers, if there are any, add the learned bets.

        Raises:
            BadInput: if there are fewer than 100 inputs.
        """
        classes = logits(context.victim.eval(), context.inputs.inputs(slice(0, 1))).shape[1]
        if len(context.inputs) < 100:
            raise BadInput(f"{len(context.inputs)} benign inputs", "100 or more, better thousands", "give it more")
        score, values = calibrate(self.score, context)
        learned = {"inputs": values.sort().values, "classes": torch.tensor(classes)}
        if context.outliers is not None:
            learned["outliers"] = scores(score, context.victim, context.outliers, context.progress).sort().values
        return replace(self, score=score, benign=Weights.of(learned))

    def wins(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log wins of the bets.

        `NotFitted` is raised without calibration.

        Args:
            scores: Scores of queries, (…).

        Returns:
            The logarithm of what each bet wins at each score, (…, bets), and the bets' weights, (bets,).
        """
        log_wins, weights = _log_wins(self)
        return log_wins[torch.from_numpy(places(self.learned["inputs"].numpy(), scores.numpy()))], weights

    @property
    def learned(self) -> Mapping[str, Tensor]:
        """The scores of `inputs` and perhaps `outliers`, rising, and the number of classes.

        Raises:
            NotFitted: without calibration.
        """
        if self.benign is None or not self.benign.tensors:
            raise NotFitted(f"{self!r}", "a calibrated test", "fit it to a victim and benign inputs first: feint fit")
        return self.benign.tensors

    def replay(self, scores: Tensor) -> Tensor:
        """Return the evidence of simulated clients.

        Args:
            scores: Scores of the queries of N clients, (N, T), none of them a repeat.

        Returns:
            The evidence after each query, (N, T).
        """
        wins, weights = self.wins(scores)
        sums = wins.cumsum(1)
        total = torch.full_like(sums[..., 0], -math.inf)
        for j, start in enumerate(range(0, scores.shape[1], self.block)):
            since = sums[:, start:] - (sums[:, start - 1 : start] if start else 0.0)
            begun = (since + weights.log()).logsumexp(-1) - math.log((j + 1) * (j + 2))
            total[:, start:] = torch.logaddexp(total[:, start:], begun)
        return total / -math.log(self.alpha)

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Bet on each input.

        `NotFitted` is raised without calibration.

        Args:
            query: The query.
            z: The model's undefended logits, (N, K).
            account: The client's account.

        Returns:
            The largest evidence so far, also within this query.

        Raises:
            BadInput: if the logits have another number of classes than the calibration.
        """
        if z.shape[-1] != int(self.learned["classes"]):
            fitted = f"the {int(self.learned['classes'])} fitted to"
            raise BadInput(f"logits of {z.shape[-1]} classes", fitted, "fit it to this victim")
        return self.martingale().observe(self.score(query.x, z).cpu().numpy(), query, account)

    def martingale(self) -> Martingale:
        """Return the bets at their prices, as arrays, which a service runs with or without torch."""
        log_wins, weights = _log_wins(self)
        return Martingale(self.learned["inputs"].numpy(), log_wins.numpy(), weights.numpy(), self.alpha, self.block)


@functools.lru_cache(maxsize=8)
def _log_wins(test: SequentialTest) -> tuple[Tensor, Tensor]:
    """Return what each bet wins at each p-value, and the bets' weights.

    Returns:
        The logarithm of payment over price, (n + 1, bets), and the weights, (bets,).
    """
    tensors = test.learned
    n = len(tensors["inputs"])
    p = (torch.arange(1, n + 2, dtype=torch.float64) / (n + 1) * test.tolerance).clamp_max(1)
    bets = [power * p ** (power - 1) for power in POWERS]
    weights = torch.full((len(POWERS),), 1 / len(POWERS), dtype=torch.float64)
    if "outliers" in tensors:
        density = falling(p, torch.searchsorted(tensors["inputs"], tensors["outliers"], right=True))
        bets += [1 - share + share * density for share in SHARES]
        weights = torch.cat([weights, torch.full((len(SHARES),), 1 / len(SHARES), dtype=torch.float64)]) / 2
    paid = torch.stack(bets, -1)
    return (paid / prices(paid, test.delta, test.tolerance)).log(), weights


def prices(paid: Tensor, delta: float, tolerance: float = 1.0) -> Tensor:
    """Bound the mean payment of each bet to benign queries, given the calibration set.

    The bound holds for all bets at once with probability 1 − delta over calibration sets. It is taken from simulated
    sets: each bet's price has the same rank among its averages, the least rank for which all hold in 1 − delta of the
    sets and 3 standard errors more. With a `tolerance` t benign scores fall below the k-th calibration score with
    probability min(1, t U_(k)).

    Args:
        paid: Payment of each bet at each p-value, (n + 1, bets).
        delta: Probability with which a price may be too low.
        tolerance: t ≥ 1.

    Returns:
        Prices, (bets,).
    """
    generator = torch.Generator().manual_seed(0)
    averages = []
    for _ in range(DRAWS // 500):
        gaps = torch.empty(500, len(paid), dtype=torch.float64).exponential_(generator=generator)
        gaps /= gaps.sum(-1, keepdim=True)
        if tolerance > 1:
            below = (tolerance * gaps.cumsum(-1)).clamp_max(1)
            gaps = below.diff(dim=-1, prepend=below.new_zeros(len(below), 1))
        averages.append(gaps @ paid)
    drawn = torch.cat(averages)
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
