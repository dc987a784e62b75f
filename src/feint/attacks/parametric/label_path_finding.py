"""Path finding with labels only: a tree grown from its root by line searches between inputs of different answers."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, log2
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.axis_boxes import DistinctAnswers, Node, Nodes, classifier, require_tree
from feint.attacks.parametric.unit_space import UnitSpace
from feint.attacks.probing import check, draw_rows, require_classes
from feint.data import Split
from feint.errors import BadRecipe, Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Columns, Domain, Pixels, Text, Tokens

Cut = tuple[int, float]  # an axis of the unit cube and its threshold


@dataclass(frozen=True)
class LabelPathFinding(Attack):
    """Path finding from the root, for decision trees that answer with labels.

    It is after Tramèr et al. (USENIX Security 2016, §4.2). The paper's top-down variant starts at the root by leaving
    features out of a query (`TopDownPathFinding`). This adaptation, not their algorithm, asks whole inputs.

    `seeds` inputs of `pool` and as many random ones are asked. If a region holds inputs x and y of different answers,
    the features of y replace those of x in a random order. Bisection finds the one at which the answer changes. If it
    is a number, bisection in that feature alone finds a threshold of the victim, to within `epsilon` of its usual
    range: log2(d) + log2(1/epsilon) queries. If it is a category, that of y is set apart from all others. Of `searches`
    such thresholds, and those found before, the one that separates the region's answers best (Gini) divides the region.
    The region that is likely to hold most errors goes first; one whose answers all agree is asked `probes` random
    inputs more, or half as many as it has. The attack ends with the budget; each region answers with its commonest
    answer.

    Two things are not found: a threshold between leaves of the same label, which does not matter, and a leaf that none
    of the inputs asked has hit. The attack works with probabilities as well, two leaves of the same answer included.

    Args:
        pool: Inputs of the attacker.
        surrogate: The network `tree`.
        epsilon: Precision of a threshold, as a share of the usual range of the number, 1e-6 to 0.5.
        seeds: Inputs of the pool, and random inputs, that are asked first.
        probes: Fewest random inputs that are asked in a region whose answers agree.
        searches: Thresholds that are searched before a region is divided.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    is_naive: ClassVar[bool] = False
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns)
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Tokens, Text), "KnockoffNets")
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

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate, most=1)
        oracle.keep_answers_only()
        space, generator = UnitSpace(self.surrogate.domain), torch.Generator().manual_seed(seed)
        search = _RegionSearch(oracle, self, space, generator)
        rows = draw_rows(self.pool, self.seeds, seed)
        search.run(torch.cat([space.points(self.pool.inputs(rows)), space.draw(self.seeds, generator)]), progress)
        return classifier(self.surrogate, search.nodes, space)


@dataclass
class _Region:
    """Node that may be divided: a box, the points asked in it with their answers, and thresholds that cross it."""

    node: int
    low: Tensor
    high: Tensor
    x: Tensor
    p: Tensor
    cuts: list[Cut] = field(default_factory=list)


class _RegionSearch:
    """Search that divides regions until the budget is spent, and the nodes of the tree so far."""

    def __init__(self, oracle: Oracle, recipe: LabelPathFinding, space: UnitSpace, generator: torch.Generator) -> None:
        self._oracle, self._recipe, self._space, self._generator = oracle, recipe, space, generator
        self._answers = DistinctAnswers()
        self._refusal: Refused | None = None
        self._queue: list[tuple[float, int, _Region]] = []
        self.nodes: Nodes = []

    def run(self, x: Tensor, progress: ProgressCallback) -> None:
        """Divide the whole cube until nothing more is answered; `x` (n, d) are the first points asked."""
        total, features = self._oracle.left, x.shape[1]
        p = self._ask(x)
        if not len(p) and self._refusal is not None:
            raise self._refusal
        require_classes(p, self._recipe.surrogate.classes, "a surrogate")
        low, high = x.new_zeros(features), x.new_ones(features)
        self._add_leaf(low, high, x[: len(p)], p, [])
        while self._refusal is None and self._oracle.left:
            region = heapq.heappop(self._queue)[2]
            self._refine(region)
            progress.step(f"asking ({len(self.nodes) // 2 + 1} leaves)", self._oracle.asked, total)

    def _add_leaf(self, low: Tensor, high: Tensor, x: Tensor, p: Tensor, cuts: list[Cut]) -> int:
        """Add a leaf for this region, push the region, and return its node."""
        self.nodes.append(Node(0, 0.0, 0, 0, p[0]))
        self._push(_Region(len(self.nodes) - 1, low, high, x, p, cuts))
        return len(self.nodes) - 1

    def _push(self, region: _Region) -> None:
        """Set the leaf to the commonest answer, and queue the region.

        Regions come in the order of how many of their answers differ from the commonest one, then those whose answers
        agree, by volume for each answer.
        """
        rows, counts = region.p.unique(dim=0, return_counts=True)
        self.nodes[region.node] = self.nodes[region.node]._replace(answer=rows[counts.argmax()])
        errors = len(region.p) - int(counts.max())
        volume = self._space.volume(region.low, region.high)
        heapq.heappush(self._queue, (-errors if errors else -volume / len(region.p), region.node, region))

    def _refine(self, region: _Region) -> None:
        """Divide the region if its answers differ; else ask more of it."""
        if (region.p == region.p[0]).all():
            count = max(self._recipe.probes, len(region.x) // 2)
            x = self._space.draw_within(region.low, region.high, count, self._generator)
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
        (left_low, left_high), (right_low, right_high) = self._space.divide(region.low, region.high, i, t)
        cuts = [other for other in region.cuts if other != cut]
        inside = [[(j, s) for j, s in cuts if j != i or (s < t) == left] for left in (True, False)]
        left = self._add_leaf(left_low, left_high, region.x[is_left], region.p[is_left], inside[0])
        right = self._add_leaf(right_low, right_high, region.x[~is_left], region.p[~is_left], inside[1])
        self.nodes[region.node] = self.nodes[region.node]._replace(axis=i, threshold=t, left=left, right=right)

    def _search_thresholds(self, region: _Region) -> list[Cut]:
        """Search thresholds between pairs of the region's inputs whose answers differ; return none after a refusal."""
        firsts = torch.randint(len(region.x), (self._recipe.searches,), generator=self._generator)
        x, p = region.x[firsts], region.p[firsts]
        differ = (region.p != p[:, None]).any(2)
        y = region.x[torch.multinomial(differ.double(), 1, generator=self._generator)[:, 0]]
        space, count = self._space, int(self._space.column[-1]) + 1
        order = torch.rand(len(x), count, generator=self._generator).argsort(1).argsort(1)[:, space.column]
        same, differs = torch.zeros(len(x), 1), torch.full((len(x), 1), count)  # columns of y that took their place
        for _ in range(ceil(log2(max(count, 2)))):
            middle = (same + differs).div(2, rounding_mode="floor")
            same, differs = self._halve(torch.where(order < middle, y, x), p, middle, same, differs)
        mixed, changed = torch.where(order < same, y, x), (order == same) & (x != y)
        named = (
            changed & ~space.is_number & ((y > x) | space.is_missing)
        )  # y's category, or what only one of both lacks
        axis = torch.where(named.any(1), named.long().argmax(1), changed.long().argmax(1))
        return self._halve_numbers(mixed, p, axis, x, y) if self._refusal is None else []

    def _halve_numbers(self, x: Tensor, p: Tensor, axis: Tensor, start: Tensor, end: Tensor) -> list[Cut]:
        """Return the cuts on the axes (m,) at which the answers `p` (m, K) to points `x` (m, d) change.

        Args:
            x: Points whose answers are `p`.
            p: Answers.
            axis: Axes on which the points change.
            start: Points (m, d) whose value on the axis keeps the answer.
            end: Points (m, d) whose value on the axis changes it.
        """
        space, index = self._space, axis[:, None]
        inside, outside, step = start.gather(1, index), end.gather(1, index), space.step[index]
        for _ in range(ceil(log2(1 / self._recipe.epsilon))):
            wide = space.is_number[axis] & ((inside - outside).abs() > 1.5 * step)[:, 0]
            if not wide.any() or self._refusal is not None:
                break
            middle = (inside + outside)[wide] / 2
            middle = torch.where(step[wide] > 0, (middle / step[wide]).round() * step[wide], middle)
            inside[wide], outside[wide] = self._halve(
                x[wide].scatter(1, index[wide], middle), p[wide], middle, inside[wide], outside[wide]
            )
        thresholds = ((inside + outside) / 2)[:, 0]
        return list(zip(axis.tolist(), thresholds.tolist(), strict=True)) if self._refusal is None else []

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

    def _ask(self, points: Tensor) -> Tensor:
        """Return answers to the first of the points (n, d): all of them, or those before a refusal."""
        p, refusal = self._oracle.try_ask(self._space.inputs(points))
        self._refusal = refusal or self._refusal
        return self._answers.representatives(p) if len(p) else torch.empty(0, self._recipe.surrogate.classes)
