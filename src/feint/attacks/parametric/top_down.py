"""Path finding from the root by incomplete queries: rows in which values are missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.axis_boxes import DistinctAnswers, Node, Nodes, classifier, require_tree
from feint.attacks.parametric.unit_space import UnitSpace
from feint.attacks.probing import require_budget, require_classes, require_probabilities
from feint.errors import BadInput, Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Columns, Domain, Pixels, Text, Tokens


@dataclass(frozen=True)
class TopDownPathFinding(Attack):
    """Top-down path finding with incomplete queries (Tramèr et al., USENIX Security 2016, §4.2).

    The first query leaves out every value that may be missing. Then each column alone is set: one that changes the
    answer is asked for on the path of that row. Bisection of a number finds all thresholds along its usual range, to
    within `epsilon`, and each category is asked. The values with equal answers, and the missing one, are regions in
    which the search goes on, with all other columns left out still. A region in which no column changes the answer is a
    leaf. Answers that are equal but for their last bits count as the same leaf.

    If a model answers a row by the node at which a value is missing, as that of the paper did, then any value of the
    right column changes the answer: with `stops_at_missing` one query a column is enough, where others take one for
    each category and two for a number. Models of scikit-learn and others send a missing value on along a branch. If
    several columns change the answer, the one nearest to the root is found by setting two of them at once.

    Columns that cannot be left out keep a random value. Raises `BadInput` if no value may be missing, and for labels
    only. After a refusal the regions so far are leaves.

    Args:
        surrogate: The network `tree`.
        epsilon: Precision of a threshold, as a share of the usual range of the number, 1e-6 to 0.5.
        stops_at_missing: Whether the model answers by the node at which a value is missing.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    domains: ClassVar[tuple[type[Domain], ...]] = (Columns,)
    instead: ClassVar[Mapping[type[Domain], str]] = {
        Pixels: "PathFinding",
        Tokens: "KnockoffNets",
        Text: "KnockoffNets",
    }
    surrogate: Network
    epsilon: float = 1e-4
    stops_at_missing: bool = False

    def __post_init__(self) -> None:
        require_tree(self.surrogate, self.epsilon)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        require_budget(oracle, self.surrogate, 1)
        space = UnitSpace(self.surrogate.domain)
        if not space.is_missing.any():
            raise BadInput("columns none of which may lack a value", "optional ones", "use PathFinding instead")
        oracle.keep_answers_only()
        search = _TopDownSearch(oracle, self, space)
        search.run(space.draw(1, torch.Generator().manual_seed(seed))[0], progress)
        return classifier(self.surrogate, search.nodes, space)


@dataclass
class _Subtree:
    """Node that may be divided: the point (d,) that stands for it, its answer (K,), and its box (d,)."""

    node: int
    x: Tensor
    p: Tensor
    low: Tensor
    high: Tensor


@dataclass
class _Part:
    """Part of a region along one column, and the questions (axis, threshold, is right) that lead to it."""

    x: Tensor
    p: Tensor
    low: Tensor
    high: Tensor
    questions: list[tuple[int, float, bool]]


class _TopDownSearch:
    """Search that divides regions from the root on, and the nodes of the tree so far."""

    def __init__(self, oracle: Oracle, recipe: TopDownPathFinding, space: UnitSpace) -> None:
        self._oracle, self._recipe, self._space = oracle, recipe, space
        self._distinct, self._known = DistinctAnswers(), dict[bytes, Tensor]()
        self.nodes: Nodes = []

    def run(self, start: Tensor, progress: ProgressCallback) -> None:
        """Divide the cube from its root, until no region is left or the victim refuses."""
        for i in self._space.is_missing.nonzero()[:, 0].tolist():
            start = self._space.move(start[None], torch.tensor([i]), torch.ones(1))[0]
        total, p = self._oracle.left, self._ask(start[None])[0]
        require_probabilities(p[None], "LabelPathFinding needs labels only")
        require_classes(p[None], self._recipe.surrogate.classes, "a surrogate")
        self.nodes.append(Node(0, 0.0, 0, 0, p))
        regions = [_Subtree(0, start, p, torch.zeros_like(start), torch.ones_like(start))]
        try:
            while regions:
                regions += self._divide(regions.pop())
                progress.step(f"asking ({len(self.nodes)} nodes)", self._oracle.asked, total)
        except Refused:
            return

    def _divide(self, region: _Subtree) -> list[_Subtree]:
        """Return the regions into which the column nearest to the root divides this one; none for a leaf."""
        column = self._dividing_column(region)
        if column is None:
            return []
        axes = (self._space.column == column).nonzero()[:, 0]
        parts = (
            self._numbers(region, int(axes[0])) if self._space.is_number[axes[0]] else self._categories(region, axes)
        )
        if self._space.lacking(region.x[None])[0, column]:
            parts = [self._missing(region, int(axes[-1])), *parts]
        return self._grow(region, parts)

    def _dividing_column(self, region: _Subtree) -> int | None:
        """Return the column nearest to the root of which another value changes the answer, None for a leaf."""
        axis, value = self._changes(region)
        if not len(axis):
            return None
        moved = self._space.move(region.x.expand(len(axis), -1), axis, value)
        answers = self._ask(moved)
        highest = None
        for i in (answers != region.p).any(1).nonzero()[:, 0].tolist():
            column = self._space.column[axis[i]]
            if highest is None:
                highest = i
            elif column != self._space.column[axis[highest]]:
                both = self._space.move(moved[highest][None], axis[i : i + 1], value[i : i + 1])
                is_above = (self._ask(both)[0] == answers[i]).all() and (answers[i] != answers[highest]).any()
                highest = i if is_above else highest
        return None if highest is None else int(self._space.column[axis[highest]])

    def _changes(self, region: _Subtree) -> tuple[Tensor, Tensor]:
        """Return the changes of single columns to ask in a region: axes (m,), and the values (m,) on them."""
        changes, columns = list[tuple[int, float]](), set[int]()
        lacking = self._space.lacking(region.x[None])[0].tolist()
        for i, axis in enumerate(self._space.axes):
            if axis.missing or not self._space.is_open(i, region.low, region.high):
                continue
            ends = {float(region.low[i]), float(region.high[i])} if self._space.is_number[i] else {1.0}
            here = set() if lacking[axis.column] else {float(region.x[i])}
            for end in sorted(ends - here):
                if not (self._recipe.stops_at_missing and lacking[axis.column] and axis.column in columns):
                    changes.append((i, end))
                    columns.add(axis.column)
        return (
            torch.tensor([i for i, _ in changes], dtype=torch.int64),
            torch.tensor([end for _, end in changes], dtype=torch.float64),
        )

    def _numbers(self, region: _Subtree, axis: int) -> list[_Part]:
        """Return the parts of a region between the thresholds of a number, the lowest first."""
        ends = torch.stack([region.low[axis], region.high[axis]])
        answers = self._ask_along(region, axis, ends)
        points = [(float(ends[0]), answers[0]), (float(ends[1]), answers[1])]
        least = max(self._recipe.epsilon, 1.5 * float(self._space.step[axis]))
        while True:
            pairs = pairwise(points)
            wide = [(a, b) for (a, p), (b, q) in pairs if (p != q).any() and b - a > least]
            if not wide:
                break
            middle = torch.tensor([(a + b) / 2 for a, b in wide], dtype=torch.float64)
            middle = self._space.on_grid(axis, middle)
            points += zip(middle.tolist(), self._ask_along(region, axis, middle), strict=True)
            points.sort(key=lambda point: point[0])
        parts, lowest = [], points[0][0]
        for (a, p), (b, q) in zip(points, [*points[1:], (torch.inf, None)], strict=True):
            if q is None or (p != q).any():
                low, high = region.low.clone(), region.high.clone()
                low[axis], high[axis] = lowest, a
                threshold = (a + b) / 2 if self._space.step[axis] else b
                part = self._part(region, axis, lowest, p, low, high)
                parts.append(part)
                part.questions = [] if q is None else [(axis, threshold, False)]
                lowest = b
        return parts

    def _categories(self, region: _Subtree, axes: Tensor) -> list[_Part]:
        """Return the parts of a region whose categories have equal answers; the last one needs no question."""
        named = [
            i
            for i in axes.tolist()
            if not self._space.is_missing[i] and self._space.is_open(i, region.low, region.high)
        ]
        moved = self._space.move(region.x.expand(len(named), -1), torch.tensor(named), torch.ones(len(named)))
        groups: list[tuple[Tensor, list[int]]] = []
        for i, p in zip(named, self._ask(moved), strict=True):
            group = next((members for q, members in groups if (p == q).all()), None)
            groups += [(p, [i])] if group is None else []
            if group is not None:
                group.append(i)
        groups.sort(key=lambda group: len(group[1]))
        parts = []
        for p, members in groups:
            high = region.high.clone()
            high[axes] = 0.0
            high[members] = 1.0
            part = self._part(region, members[0], 1.0, p, region.low, high)
            part.questions = [] if members is groups[-1][1] else [(i, 0.5, True) for i in members]
            parts.append(part)
        return parts

    def _missing(self, region: _Subtree, axis: int) -> _Part:
        """Return the part of a region in which the column of this axis is missing."""
        low = region.low.clone()
        low[axis] = 1.0
        high = region.high.clone()
        high[self._space.beside(axis) & ~self._space.is_number] = 0.0
        return _Part(region.x, region.p, low, high, [(axis, 0.5, True)])

    def _part(self, region: _Subtree, axis: int, value: float, p: Tensor, low: Tensor, high: Tensor) -> _Part:
        """Return the part that the point of the region stands for with this value on the axis."""
        missing, high = self._space.missing_axis(axis), high.clone()
        if missing is not None:
            high[missing] = 0.0
        x = self._space.move(region.x[None], torch.tensor([axis]), torch.tensor([value]))[0]
        return _Part(x, p, low, high, [])

    def _grow(self, region: _Subtree, parts: list[_Part]) -> list[_Subtree]:
        """Replace a leaf by the questions that lead to its parts, and return these as regions of new leaves."""
        questions = [(*question, number) for number, part in enumerate(parts) for question in part.questions]
        chain = [region.node, *range(len(self.nodes), len(self.nodes) + len(questions) - 1)]
        first = len(self.nodes) + len(questions) - 1
        self.nodes += [self.nodes[region.node]] * (len(questions) - 1)
        self.nodes += [Node(0, 0.0, 0, 0, part.p) for part in parts]
        for here, after, (axis, threshold, is_right, number) in zip(
            chain, [*chain[1:], first + len(parts) - 1], questions, strict=True
        ):
            left, right = (after, first + number) if is_right else (first + number, after)
            self.nodes[here] = self.nodes[here]._replace(axis=axis, threshold=threshold, left=left, right=right)
        return [_Subtree(first + i, part.x, part.p, part.low, part.high) for i, part in enumerate(parts)]

    def _ask_along(self, region: _Subtree, axis: int, values: Tensor) -> Tensor:
        """Return the answers (n, K) to the point of a region with these values (n,) on an axis."""
        axes = torch.full((len(values),), axis)
        return self._ask(self._space.move(region.x.expand(len(values), -1), axes, values))

    def _ask(self, points: Tensor) -> Tensor:
        """Return the answers (n, K) to points (n, d), of which only new ones are asked. Raises `Refused`."""
        codes = [row.tobytes() for row in points.numpy()]
        new = {code: i for i, code in enumerate(codes) if code not in self._known}
        if new:
            p, refusal = self._oracle.try_ask(self._space.inputs(points[list(new.values())]))
            if refusal is not None:
                raise refusal
            self._known |= dict(zip(new, self._distinct.representatives(p), strict=True))
        return torch.stack([self._known[code] for code in codes])
