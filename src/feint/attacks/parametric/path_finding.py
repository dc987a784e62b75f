"""Path finding: line searches for the boxes of a decision tree's leaves, which its answers identify."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.axis_boxes import DistinctAnswers, build_tree, classifier, require_tree, snap_faces
from feint.attacks.probing import require_budget, require_probabilities
from feint.errors import Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class PathFinding(Attack):
    """Path finding for decision trees with leaf identities (Tramèr et al., USENIX Security 2016, §4.2, Algorithm 1).

    Answers that are equal but for their last bits count as the same leaf. A leaf is a box. From one input in it, each
    feature alone is set to 0 and to 1; where the answer changes, bisection finds the face of the box to within
    `epsilon`. The point outside is an input in another leaf, from which the search goes on: from any input every leaf
    is reached that is thicker than `epsilon`. The boxes make a tree that answers as the victim does but within
    `epsilon` of a threshold. The paper's features are of any kind; here they are real numbers in [0, 1].

    A leaf costs 2d queries and log2(1/epsilon) for each of its faces: for L leaves at depth about log2 L, not less than

        L (2d + log2 L · log2(1/epsilon))

    Two leaves with the same answer count as one, which can hide others between them: `LabelPathFinding` has no such
    limit, and needs no probabilities. After a refusal the boxes so far make the tree. The seed draws the first input.
    Raises `BadInput` for labels only.

    Args:
        surrogate: The network `tree`.
        epsilon: Precision of a threshold, 1e-6 to 0.5.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    surrogate: Network
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        require_tree(self.surrogate, self.epsilon)

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        require_budget(oracle, self.surrogate, 1)
        oracle.keep_answers_only()
        search = _LeafSearch(oracle, self.surrogate, self.epsilon)
        start = torch.rand(prod(self.surrogate.shape), generator=torch.Generator().manual_seed(seed))
        search.run(start, progress)
        low, high = snap_faces(torch.stack(search.low), torch.stack(search.high), self.epsilon)
        return classifier(self.surrogate, build_tree(low, high, torch.stack(search.p)))


class _LeafSearch:
    """Search for the boxes of leaves, from `low` to `high` with the answer `p`, of which it keeps those so far."""

    def __init__(self, oracle: Oracle, surrogate: Network, epsilon: float) -> None:
        self._oracle, self._network, self._epsilon = oracle, surrogate, epsilon
        self._answers = DistinctAnswers()
        self.low: list[Tensor] = []
        self.high: list[Tensor] = []
        self.p: list[Tensor] = []
        self._refusal: Refused | None = None

    def run(self, start: Tensor, progress: ProgressCallback) -> None:
        """Search from the input `start` (d,) until every leaf that was met has its box, or the victim refuses."""
        p = self._ask(start[None])
        if not len(p) and self._refusal is not None:
            raise self._refusal
        require_probabilities(p, "LabelPathFinding needs labels only")
        stack = [(start, 0, start[0], p[0])]  # an input, but for the value of one feature, and its answer
        total = self._oracle.left + 1
        while stack and self._refusal is None:
            x, i, value, p = stack.pop()
            x = x.clone()
            x[i] = value
            if not self._is_known(x, p):
                stack += self._find_box(x, p)
                progress.step(f"asking ({len(self.p)} leaves)", self._oracle.asked, total)

    def _is_known(self, x: Tensor, p: Tensor) -> bool:
        """Return whether `x` lies in a box of its answer, whose faces are known to within epsilon."""
        if not self.p:
            return False
        low, high = torch.stack(self.low) - self._epsilon, torch.stack(self.high) + self._epsilon
        inside = ((low <= x) & (x <= high)).all(1)
        return bool((inside & (torch.stack(self.p) == p).all(1)).any())

    def _find_box(self, x: Tensor, p: Tensor) -> list[tuple[Tensor, int, Tensor, Tensor]]:
        """Find the box around `x`, whose answer is `p`, and return inputs in other leaves, the nearest ones last."""
        features = len(x)
        feature = torch.arange(features).repeat_interleave(2)
        ends = torch.tensor([0.0, 1.0]).repeat(features)
        answers = self._ask(self._with_feature(x, feature, ends))
        side = (answers != p).any(1).nonzero()[:, 0]
        neighbours = [(x, int(feature[i]), ends[i], answers[i]) for i in side]
        inside, outside, outside_p = x[feature[side]], ends[side], answers[side]
        while self._refusal is None and len(side) and (inside - outside).abs().max() > self._epsilon:
            middle = (inside + outside) / 2
            answered = self._ask(self._with_feature(x, feature[side], middle))
            n = len(answered)
            same = torch.zeros(len(side), dtype=torch.bool)
            same[:n] = (answered == p).all(1)
            left = torch.arange(len(side)) < n  # the rest were refused, and stay as they are
            inside = torch.where(left & same, middle, inside)
            outside = torch.where(left & ~same, middle, outside)
            outside_p = outside_p.clone()
            outside_p[:n] = torch.where(same[:n, None], outside_p[:n], answered)
        face = ends.clone().double()
        # the upper end of the bracket: an input on a threshold then goes left, as with the victim
        face[side] = torch.maximum(inside, outside).double()
        self.low.append(face[0::2])
        self.high.append(face[1::2])
        self.p.append(p)
        return neighbours + [(x, int(feature[i]), outside[n], outside_p[n]) for n, i in enumerate(side)]

    def _with_feature(self, x: Tensor, feature: Tensor, value: Tensor) -> Tensor:
        """Return `x` with one feature changed, for each of these features and values: (n, d)."""
        moved = x.repeat(len(feature), 1)
        moved[torch.arange(len(feature)), feature] = value
        return moved

    def _ask(self, x: Tensor) -> Tensor:
        """Return answers to the first rows of `x` (n, d): all of them, or those before a refusal."""
        p, refusal = self._oracle.try_ask(x.view(-1, *self._network.shape))
        self._refusal = refusal or self._refusal
        return self._answers.representatives(p) if len(p) else x.new_empty(0, self._network.classes)
