"""Path finding with labels only: a tree grown from its root by line searches between inputs of different answers."""

import heapq
from dataclasses import dataclass, field
from math import ceil, log2, prod
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.axis_boxes import DistinctAnswers, Nodes, classifier, require_tree
from feint.attacks.probing import check, draw_rows
from feint.data import Split
from feint.errors import BadRecipe, Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback

Cut = tuple[int, float]  # a feature and its threshold


@dataclass(frozen=True)
class LabelPathFinding(Attack):
    """Path finding from the root, for decision trees that answer with labels.

    It is after Tramèr et al. (USENIX Security 2016, §4.2). The paper's top-down variant starts at the root by leaving
    features out of a query. Numbers in [0, 1] cannot be left out, so this is an adaptation, not their algorithm.

    `seeds` inputs of `pool` and as many random ones are asked. If a region holds inputs x and y of different answers,
    the features of y replace those of x in a random order. Bisection finds the one at which the answer changes, and
    bisection in that feature alone a threshold of the victim, to within `epsilon`: log2(d) + log2(1/epsilon) queries.
    Of `searches` such thresholds, and those found before, the one that separates the region's answers best (Gini)
    divides the region. The region that is likely to hold most errors goes first; one whose answers all agree is asked
    `probes` random inputs more, or half as many as it has. The attack ends with the budget; each region answers with
    its commonest answer.

    Two things are not found: a threshold between leaves of the same label, which does not matter, and a leaf that none
    of the inputs asked has hit. The attack works with probabilities as well, two leaves of the same answer included.

    Args:
        pool: Inputs of the attacker.
        surrogate: The network `tree`.
        epsilon: Precision of a threshold, 1e-6 to 0.5.
        seeds: Inputs of the pool, and random inputs, that are asked first.
        probes: Fewest random inputs that are asked in a region whose answers agree.
        searches: Thresholds that are searched before a region is divided.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    is_naive: ClassVar[bool] = False
    pool: Split
    surrogate: Network
    epsilon: float = 1e-4
    seeds: int = 100
    probes: int = 20
    searches: int = 3

    def __post_init__(self) -> None:
        require_tree(self.surrogate, self.epsilon)
        if min(self.seeds, self.probes, self.searches) < 1:
            raise BadRecipe(repr(self), "seeds, probes and searches ≥ 1", "change it")

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate, most=1)
        oracle.keep_answers_only()
        search = _RegionSearch(oracle, self, torch.Generator().manual_seed(seed))
        rows = draw_rows(self.pool, self.seeds, seed)
        x = torch.cat([self.pool.inputs(rows).flatten(1), search.random(self.seeds, prod(self.surrogate.shape))])
        search.run(x, progress)
        return classifier(self.surrogate, search.nodes)


@dataclass
class _Region:
    """Node that may be divided: a box, the inputs asked in it with their answers, and thresholds that cross it."""

    node: int
    low: Tensor
    high: Tensor
    x: Tensor
    p: Tensor
    cuts: list[Cut] = field(default_factory=list)


class _RegionSearch:
    """Search that divides regions until the budget is spent, and the nodes of the tree so far."""

    def __init__(self, oracle: Oracle, recipe: LabelPathFinding, generator: torch.Generator) -> None:
        self._oracle, self._recipe, self._generator = oracle, recipe, generator
        self._answers = DistinctAnswers()
        self._refusal: Refused | None = None
        self._queue: list[tuple[float, int, _Region]] = []
        self.nodes: Nodes = []

    def random(self, *size: int) -> Tensor:
        """Return uniform numbers in [0, 1) of this size."""
        return torch.rand(*size, generator=self._generator)

    def run(self, x: Tensor, progress: ProgressCallback) -> None:
        """Divide the whole cube until nothing more is answered; `x` (n, d) are the first inputs asked."""
        total, features = self._oracle.left, x.shape[1]
        p = self._ask(x)
        if not len(p) and self._refusal is not None:
            raise self._refusal
        self._add_leaf(torch.zeros(features), torch.ones(features), x[: len(p)], p, [])
        while self._refusal is None and self._oracle.left:
            region = heapq.heappop(self._queue)[2]
            self._refine(region)
            progress.step(f"asking ({len(self.nodes) // 2 + 1} leaves)", self._oracle.asked, total)

    def _add_leaf(self, low: Tensor, high: Tensor, x: Tensor, p: Tensor, cuts: list[Cut]) -> int:
        """Add a leaf for this region, push the region, and return its node."""
        self.nodes.append((0, 0.0, 0, 0, p[0]))
        self._push(_Region(len(self.nodes) - 1, low, high, x, p, cuts))
        return len(self.nodes) - 1

    def _push(self, region: _Region) -> None:
        """Set the leaf to the commonest answer, and queue the region.

        Regions come in the order of how many of their answers differ from the commonest one, then those whose answers
        agree, by volume for each answer.
        """
        rows, counts = region.p.unique(dim=0, return_counts=True)
        feature, threshold, left, right, _ = self.nodes[region.node]
        self.nodes[region.node] = (feature, threshold, left, right, rows[counts.argmax()])
        errors = len(region.p) - int(counts.max())
        volume = float((region.high - region.low).double().log().sum().exp())
        heapq.heappush(self._queue, (-errors if errors else -volume / len(region.p), region.node, region))

    def _refine(self, region: _Region) -> None:
        """Divide the region if its answers differ; else ask more of it."""
        if (region.p == region.p[0]).all():
            count = max(self._recipe.probes, len(region.x) // 2)
            x = region.low + self.random(count, len(region.low)) * (region.high - region.low)
            p = self._ask(x)
            region.x, region.p = torch.cat([region.x, x[: len(p)]]), torch.cat([region.p, p])
            self._push(region)
            return
        region.cuts += self._search_thresholds(region)
        cut = self._best_cut(region)
        if cut is None:
            self._push(region)
            return
        i, t = cut
        is_left = region.x[:, i] <= t
        low, high = region.low.clone(), region.high.clone()
        low[i] = high[i] = t
        cuts = [other for other in region.cuts if other != cut]
        inside = [[(j, s) for j, s in cuts if j != i or (s < t) == left] for left in (True, False)]
        left = self._add_leaf(region.low, high, region.x[is_left], region.p[is_left], inside[0])
        right = self._add_leaf(low, region.high, region.x[~is_left], region.p[~is_left], inside[1])
        self.nodes[region.node] = (i, t, left, right, self.nodes[region.node][4])

    def _search_thresholds(self, region: _Region) -> list[Cut]:
        """Search thresholds between pairs of the region's inputs whose answers differ; return none after a refusal."""
        firsts = torch.randint(len(region.x), (self._recipe.searches,), generator=self._generator)
        x, p = region.x[firsts], region.p[firsts]
        differ = (region.p != p[:, None]).any(2)
        y = region.x[torch.multinomial(differ.double(), 1, generator=self._generator)[:, 0]]
        order = self.random(*x.shape).argsort(1).argsort(1)  # when a feature of y takes its place
        same, differs = torch.zeros(len(x), 1), torch.full((len(x), 1), x.shape[1])
        for _ in range(ceil(log2(max(x.shape[1], 2)))):
            middle = (same + differs).div(2, rounding_mode="floor")
            same, differs = self._halve(torch.where(order < middle, y, x), p, middle, same, differs)
        mixed, feature = torch.where(order < same, y, x), (order == same).long().argmax(1, keepdim=True)
        inside, outside = x.gather(1, feature), y.gather(1, feature)
        for _ in range(ceil(log2(1 / self._recipe.epsilon))):
            middle = (inside + outside) / 2
            inside, outside = self._halve(mixed.scatter(1, feature, middle), p, middle, inside, outside)
        thresholds = ((inside.double() + outside.double()) / 2)[:, 0]
        return list(zip(feature[:, 0].tolist(), thresholds.tolist(), strict=True)) if self._refusal is None else []

    def _halve(self, x: Tensor, p: Tensor, middle: Tensor, same: Tensor, differs: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the brackets (m, 1) from `same` to `differs`, by whether the answers to `x` are still `p`."""
        answers = self._ask(x) if self._refusal is None else p[:0]
        if len(answers) < len(x):
            return same, differs
        equal = (answers == p).all(1, keepdim=True)
        return torch.where(equal, middle, same), torch.where(equal, differs, middle)

    def _best_cut(self, region: _Region) -> Cut | None:
        """Return the cut after which the answers on either side agree most; None if no cut separates the inputs."""
        _, kind = region.p.unique(dim=0, return_inverse=True)
        onehot = torch.nn.functional.one_hot(kind).double()
        best_score, best_cut = 0.0, None
        for i, t in sorted(set(region.cuts)):
            is_left = region.x[:, i] <= t
            if is_left.all() or not is_left.any():
                continue
            sides = torch.stack([onehot[is_left].sum(0), onehot[~is_left].sum(0)])
            score = float((sides.square().sum(1) / sides.sum(1)).sum())
            best_score, best_cut = (score, (i, t)) if score > best_score else (best_score, best_cut)
        return best_cut

    def _ask(self, x: Tensor) -> Tensor:
        """Return answers to the first rows of `x` (n, d): all of them, or those before a refusal."""
        p, refusal = self._oracle.try_ask(x.view(-1, *self._recipe.surrogate.shape))
        self._refusal = refusal or self._refusal
        return self._answers.representatives(p) if len(p) else x.new_empty(0, self._recipe.surrogate.classes)
