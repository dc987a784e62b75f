"""Evidence against a client that may be looked at after every query, for as long as the client stays."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from feint.defenses.access.martingale import Martingale, places
from feint.defenses.scores import Energy, Score, scores
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.fitting import FitContext, Fittable
from feint.ledger import Account
from feint.query import Query
from feint.recipes.store import Weights
from feint.victims import logits

POWERS = tuple(i / 20 for i in range(1, 20))
SHARES = 1.0, 0.5, 0.25, 0.1, 0.05  # of suspicious queries, for the learned bets
BINS = 40  # of the learned bet, each a fixed part narrower than the next
DRAWS = 10_000  # simulated calibration sets


@dataclass(frozen=True)
class SequentialTest(Fittable):
    """A test martingale of conformal p-values: an honest client is ever accused with probability at most `alpha`.

    The score s of a query is compared with those of n benign inputs: k = 1 + #{c_i ≤ s}, p = k / (n + 1), where scores
    that only the last bits of an output keep apart are equal, so that p is never too small. A bet is a
    falling function b of p, sold at a price that a benign client is expected not to win back; evidence is the mean
    over bets, and over the blocks of `block` queries with which each may have begun, of what was won:

        M_t = Σ_j w_j mean_b Π_(i in blocks ≥ j) b(p_i) / price(b),    evidence = log M_t / log(1/alpha)

    The owner has one calibration set, and p is uniform only on average over many. What a bet pays on average *given*
    the set is Σ_k b(p_k) D_k with D uniform on the simplex of n + 1 gaps, whatever the scores' distribution; the price
    is a quantile of that, for all bets at once right with probability 1 − `delta`. By Ville's inequality M then ever
    reaches 1/alpha with probability ≤ alpha, whenever one looks (+ delta, once, for the calibration set).

    Bets are ε p^(ε−1) and, where `fit` was given `outliers`, 1 − π + π h(p) with h learned from them, for clients who
    send a share π of such queries. `tolerance` t prices for honest clients whose scores may be as low as any level up
    to t times as often as the calibration set's.

    It assumes that honest queries are exchangeable with the calibration set, which the victim must not have been
    trained on. Repeats within an hour count once. What runs is a `Martingale`: two numbers a bet in the account.
    Composed for this project (docs/design/evidence.md) from conformal test martingales (Vovk, Nouretdinov and
    Gammerman, ICML 2003); it is not a method of that paper.
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
        """This test calibrated on benign `inputs`; `outliers`, if there are any, teach it one more bet."""
        classes = logits(context.victim.eval(), context.inputs.inputs(slice(0, 1))).shape[1]
        learned = {
            "inputs": scores(self.score, context.victim, context.inputs, context.progress).sort().values,
            "classes": torch.tensor(classes),
        }
        if len(context.inputs) < 100:
            raise BadInput(f"{len(context.inputs)} benign inputs", "100 or more, better thousands", "give it more")
        if context.outliers is not None:
            learned["outliers"] = scores(self.score, context.victim, context.outliers, context.progress).sort().values
        return replace(self, benign=Weights.of(learned))

    def wins(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of what each bet wins at each of the `scores` (…), (…, bets), and the bets' weights.

        Raises `NotFitted`.
        """
        won, weights = _games(self)
        return won[torch.from_numpy(places(self.learned["inputs"].numpy(), scores.numpy()))], weights

    @property
    def learned(self) -> Mapping[str, Tensor]:
        """The scores of `inputs` and perhaps `outliers`, rising, and the number of classes. Raises `NotFitted`."""
        if self.benign is None or not self.benign.tensors:
            raise NotFitted(f"{self!r}", "a calibrated test", "fit it to a victim and benign inputs first: feint fit")
        return self.benign.tensors

    def replay(self, scores: Tensor) -> Tensor:
        """The evidence (N, T) after each query of clients who send queries with these `scores` (N, T), none twice."""
        wins, weights = self.wins(scores)
        sums = wins.cumsum(1)
        found = torch.full_like(sums[..., 0], -math.inf)
        for j, start in enumerate(range(0, scores.shape[1], self.block)):
            since = sums[:, start:] - (sums[:, start - 1 : start] if start else 0.0)
            begun = (since + weights.log()).logsumexp(-1) - math.log((j + 1) * (j + 2))
            found[:, start:] = torch.logaddexp(found[:, start:], begun)
        return found / -math.log(self.alpha)

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Bet on each input, and return the most evidence that there was on the way.

        Raises `NotFitted`, or `BadInput` for logits of another number of classes.
        """
        if z.shape[-1] != int(self.learned["classes"]):
            fitted = f"the {int(self.learned['classes'])} fitted to"
            raise BadInput(f"logits of {z.shape[-1]} classes", fitted, "fit it to this victim")
        return self.martingale().observe(self.score(query.x, z).cpu().numpy(), query, account)

    def martingale(self) -> Martingale:
        """The bets at their prices, as arrays: what a service runs, with or without torch. Raises `NotFitted`."""
        won, weights = _games(self)
        return Martingale(self.learned["inputs"].numpy(), won.numpy(), weights.numpy(), self.alpha, self.block)


@functools.lru_cache(maxsize=8)
def _games(test: SequentialTest) -> tuple[Tensor, Tensor]:
    """The logarithm of what each bet pays for its price at each of the n + 1 p-values, (n + 1, bets); their weights."""
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
    """What each bet of `paid` (n + 1, bets) pays on average to benign queries, given the calibration set, at most.

    For all bets at once with probability 1 − delta over calibration sets: from simulated ones, each bet's price has
    the same rank among its averages, the least for which all hold in 1 − delta of them and 3 standard errors more.
    With a `tolerance` t benign scores fall below the k-th calibration score with probability min(1, t U_(k)).
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
    """A falling density at the p-values `p` (n + 1,) from the `places` of outliers among them: Grenander's estimate.

    That is the slope of the least concave majorant of the outliers' distribution function, here on BINS bins.
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
