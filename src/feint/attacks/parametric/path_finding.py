"""Path finding: line searches for the boxes of a decision tree's leaves, which its answers identify."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.axis_boxes import DistinctAnswers, build_tree, classifier, require_tree, snap_faces
from feint.attacks.parametric.unit_space import UnitSpace
from feint.attacks.probing import require_budget, require_classes, require_probabilities
from feint.errors import Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Columns, Domain, Pixels, Text, Tokens


@dataclass(frozen=True)
class PathFinding(Attack):
    """Path finding for decision trees with leaf identities (Tramèr et al., USENIX Security 2016, §4.2, Algorithm 1).

    Answers that are equal but for their last bits count as the same leaf. A leaf is a box. From one input in it, each
    number alone is set to the least and to the greatest usual value; where the answer changes, bisection finds the face
    of the box to within `epsilon` of that range, and of whole numbers the two neighbours between which it lies. Each
    category alone is set to all others, and each value that may be missing is left out. An input outside is one in
    another leaf, from which the search goes on: from any input every leaf is reached that is thicker than `epsilon`.
    The boxes make a tree that answers as the victim does but within `epsilon` of a threshold.

    For d numbers, a leaf costs 2d queries and log2(1/epsilon) for each of its faces: for L leaves at depth about
    log2 L, not less than

        L (2d + log2 L · log2(1/epsilon))

    A column of C categories costs C − 1 queries a leaf. Two leaves with the same answer count as one, which can hide
    others between them: `LabelPathFinding` has no such limit, and needs no probabilities. After a refusal the boxes so
    far make the tree. The seed draws the first input. Raises `BadInput` for labels only.

    Args:
        surrogate: The network `tree`.
        epsilon: Precision of a threshold, as a share of the usual range of the number, 1e-6 to 0.5.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns)
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Tokens, Text), "KnockoffNets")
    surrogate: Network
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        require_tree(self.surrogate, self.epsilon)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        require_budget(oracle, self.surrogate, 1)
        oracle.keep_answers_only()
        space = UnitSpace(self.surrogate.domain)
        search = _LeafSearch(oracle, space, self.epsilon, self.surrogate.classes)
        search.run(space.draw(1, torch.Generator().manual_seed(seed))[0], progress)
        low, high = torch.stack(search.low), torch.stack(search.high)
        numbers = space.is_number
        low[:, numbers], high[:, numbers] = snap_faces(low[:, numbers], high[:, numbers], self.epsilon)
        return classifier(self.surrogate, build_tree(low, high, torch.stack(search.p), space), space)


class _LeafSearch:
    """Search for the boxes of leaves, from `low` to `high` with the answer `p`, of which it keeps those so far."""

    def __init__(self, oracle: Oracle, space: UnitSpace, epsilon: float, classes: int) -> None:
        self._oracle, self._space, self._epsilon, self._classes = oracle, space, epsilon, classes
        self._answers = DistinctAnswers()
        self.low: list[Tensor] = []
        self.high: list[Tensor] = []
        self.p: list[Tensor] = []
        self._refusal: Refused | None = None

    def run(self, start: Tensor, progress: ProgressCallback) -> None:
        """Search from the point `start` (d,) until every leaf that was met has its box, or the victim refuses."""
        p = self._ask(start[None])
        if not len(p) and self._refusal is not None:
            raise self._refusal
        require_probabilities(p, "LabelPathFinding needs labels only")
        require_classes(p, self._classes, "a surrogate")
        stack = [(start, p[0])]
        total = self._oracle.left + 1
        while stack and self._refusal is None:
            x, p = stack.pop()
            if not self._is_known(x, p):
                stack += self._find_box(x, p)
                progress.step(f"asking ({len(self.p)} leaves)", self._oracle.asked, total)

    def _is_known(self, x: Tensor, p: Tensor) -> bool:
        """Return whether `x` lies in a box of its answer, whose faces are known to within epsilon."""
        if not self.p:
            return False
        low, high = torch.stack(self.low) - self._epsilon, torch.stack(self.high) + self._epsilon
        ignored = self._space.lacking(x[None])[0, self._space.column] & self._space.is_number
        inside = (((low <= x) & (x <= high)) | ignored).all(1)
        return bool((inside & (torch.stack(self.p) == p).all(1)).any())

    def _find_box(self, x: Tensor, p: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Find the box around `x`, whose answer is `p`, and return points in other leaves, the nearest ones last."""
        axis, end = self._changes(x)
        moved = self._space.move(x.expand(len(axis), -1), axis, end)
        answers = self._ask(moved)
        axis, end, moved = axis[: len(answers)], end[: len(answers)], moved[: len(answers)]
        differs = (answers != p).any(1)
        present = self._space.is_number[axis] & ~self._space.lacking(x[None])[0, self._space.column[axis]]
        low, high = self._ends_of(x, axis, ~differs)
        # from a missing number nothing leads to the numbers of the same leaf
        neighbours = [
            (moved[i], answers[i]) for i in (differs | (self._space.is_number[axis] & ~present)).nonzero()[:, 0]
        ]
        side = (differs & present).nonzero()[:, 0]
        outside, outside_p, face = self._bisect(x, p, axis[side], end[side], answers[side])
        is_upper = end[side] > 0.5
        low[axis[side[~is_upper]]], high[axis[side[is_upper]]] = face[~is_upper], face[is_upper]
        self.low.append(low)
        self.high.append(high)
        self.p.append(p)
        nearest = self._space.move(x.expand(len(side), -1), axis[side], outside)
        return neighbours + list(zip(nearest, outside_p, strict=True))

    def _changes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changes of single columns of `x` to ask: axes (m,), and the values (m,) on them."""
        changes = [
            (i, end)
            for i, (value, is_number) in enumerate(zip(x.tolist(), self._space.is_number.tolist(), strict=True))
            for end in ((0.0, 1.0) if is_number else (1.0,) if value < 0.5 else ())
        ]
        axis, end = zip(*changes, strict=True)
        return torch.tensor(axis), torch.tensor(end, dtype=torch.float64)

    def _ends_of(self, x: Tensor, axis: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
        """Return the corners (d,) of the box around `x` but for its faces.

        Args:
            x: The point (d,).
            axis: Axes (m,) on which `x` was changed.
            same: Whether the answer (m,) stayed the same.
        """
        numbers = self._space.is_number
        allowed = numbers | (x > 0.5)
        allowed[axis[same]] = True
        high = torch.where(allowed, 1.0, 0.5).double()
        others = torch.zeros(len(x), dtype=torch.bool)  # whether another value of the column is in the box
        for i in (allowed & ~numbers).nonzero()[:, 0].tolist():
            beside = self._space.beside(i)
            others[i] = bool((allowed & beside & ~numbers).any()) or bool((beside & numbers).any() and x[i] < 0.5)
        low = torch.where(numbers | ~allowed | others, 0.0, 0.5).double()
        return low, high

    def _bisect(
        self, x: Tensor, p: Tensor, axis: Tensor, outside: Tensor, outside_p: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Find where the answer changes on lines along axes.

        Args:
            x: The point (d,) at which they begin.
            p: Its answer (K,).
            axis: Axes (n,) of the lines.
            outside: Values (n,) at their ends.
            outside_p: Answers (n, K) there.

        Returns:
            The values (n,) nearest to the face that are outside, the answers (n, K) there, and the faces (n,).
        """
        inside, outside_p, step = x[axis], outside_p.clone(), self._space.step[axis]
        while self._refusal is None:
            active = ((inside - outside).abs() > (1.5 * step).clamp_min(self._epsilon)).nonzero()[:, 0]
            if not len(active):
                break
            middle = (inside[active] + outside[active]) / 2
            middle = torch.where(step[active] > 0, (middle / step[active]).round() * step[active], middle)
            answers = self._ask(self._space.move(x.expand(len(active), -1), axis[active], middle))
            active, middle = active[: len(answers)], middle[: len(answers)]  # the rest were refused
            same = (answers == p).all(1)
            inside[active[same]], outside[active[~same]] = middle[same], middle[~same]
            outside_p[active[~same]] = answers[~same]
        # the upper end of the bracket: an input on a threshold then goes left, as with the victim
        face = torch.where(step > 0, (inside + outside) / 2, torch.maximum(inside, outside))
        return outside, outside_p, face

    def _ask(self, points: Tensor) -> Tensor:
        """Return answers to the first of the points (n, d): all of them, or those before a refusal."""
        p, refusal = self._oracle.try_ask(self._space.inputs(points))
        self._refusal = refusal or self._refusal
        return self._answers.representatives(p) if len(p) else torch.empty(0, self._classes)
