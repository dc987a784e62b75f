"""Path finding: the answers of a decision tree name its leaves, and line searches find their boxes."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.axis_boxes import Answers, classifier, require_tree, snapped, tree_of
from feint.attacks.probing import require_budget, require_probabilities
from feint.errors import Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class PathFinding(Attack):
    """Path finding for decision trees with leaf identities (Tramèr et al., USENIX Security 2016, §4.2, Algorithm 1).

    Equal answers, but for their last bits, are taken for the same leaf. A leaf is a box. From one input in it, each
    feature alone is set to 0 and to 1; where the answer changes, bisection finds the face of the box to within
    `epsilon`. What was met outside is an input in another leaf, and is gone on from: from any input every leaf is
    reached that is thicker than `epsilon`. The boxes make a tree, the `surrogate` of the network `tree`, that answers
    as the victim does but within `epsilon` of a threshold. The paper's features are of any kind; here they are real
    numbers in [0, 1].

    A leaf costs 2d queries and log2(1/epsilon) for each of its faces: for L leaves at depth about log2 L, not less than
    L (2d + log2 L · log2(1/epsilon)). Where two leaves give the same answer they are taken for one, which can hide
    others between them: `LabelPathFinding` does not mind, nor need probabilities. Refused, it makes a tree of the boxes
    so far. The seed draws the first input. Raises `BadInput` for labels only.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    surrogate: Network
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        require_tree(self.surrogate, self.epsilon)

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        require_budget(oracle, self.surrogate, 1)
        oracle.keep_answers_only()
        search = _Search(oracle, self.surrogate, self.epsilon)
        start = torch.rand(prod(self.surrogate.shape), generator=torch.Generator().manual_seed(seed))
        search.run(start, progress)
        low, high = snapped(torch.stack(search.low), torch.stack(search.high), self.epsilon)
        return classifier(self.surrogate, tree_of(low, high, torch.stack(search.p)))


class _Search:
    """The boxes found so far, `low` to `high` with the answer `p`, and the search for more."""

    def __init__(self, oracle: Oracle, surrogate: Network, epsilon: float) -> None:
        self._oracle, self._network, self._epsilon = oracle, surrogate, epsilon
        self._answers = Answers()
        self.low: list[Tensor] = []
        self.high: list[Tensor] = []
        self.p: list[Tensor] = []
        self._refusal: Refused | None = None

    def run(self, start: Tensor, progress: ProgressCallback) -> None:
        p = self._ask(start[None])
        if not len(p) and self._refusal is not None:
            raise self._refusal
        require_probabilities(p, "LabelPathFinding needs labels only")
        waiting = [(start, 0, start[0], p[0])]  # an input, but for the value of one feature, and its answer
        total = self._oracle.left + 1
        while waiting and self._refusal is None:
            x, i, value, p = waiting.pop()
            x = x.clone()
            x[i] = value
            if not self._known(x, p):
                waiting += self._box(x, p)
                progress.step(f"asking ({len(self.p)} leaves)", self._oracle.asked, total)

    def _known(self, x: Tensor, p: Tensor) -> bool:
        """Whether `x` lies in a box of its own answer, whose faces are known to within epsilon."""
        if not self.p:
            return False
        low, high = torch.stack(self.low) - self._epsilon, torch.stack(self.high) + self._epsilon
        inside = ((low <= x) & (x <= high)).all(1)
        return bool((inside & (torch.stack(self.p) == p).all(1)).any())

    def _box(self, x: Tensor, p: Tensor) -> list[tuple[Tensor, int, Tensor, Tensor]]:
        """Find the box around `x`, whose answer is `p`; returns inputs in other leaves, the nearest ones last."""
        features = len(x)
        feature = torch.arange(features).repeat_interleave(2)
        ends = torch.tensor([0.0, 1.0]).repeat(features)
        answers = self._ask(self._moved(x, feature, ends))
        side = (answers != p).any(1).nonzero()[:, 0]
        far = [(x, int(feature[it]), ends[it], answers[it]) for it in side]
        inside, outside, beyond = x[feature[side]], ends[side], answers[side]
        while self._refusal is None and len(side) and (inside - outside).abs().max() > self._epsilon:
            middle = (inside + outside) / 2
            answered = self._ask(self._moved(x, feature[side], middle))
            n = len(answered)
            same = torch.zeros(len(side), dtype=torch.bool)
            same[:n] = (answered == p).all(1)
            left = torch.arange(len(side)) < n  # the rest were refused, and stay as they are
            inside = torch.where(left & same, middle, inside)
            outside = torch.where(left & ~same, middle, outside)
            beyond = beyond.clone()
            beyond[:n] = torch.where(same[:n, None], beyond[:n], answered)
        face = ends.clone().double()
        face[side] = torch.maximum(inside, outside).double()  # so that what lies on a threshold goes left, as theirs
        self.low.append(face[0::2])
        self.high.append(face[1::2])
        self.p.append(p)
        return far + [(x, int(feature[it]), outside[n], beyond[n]) for n, it in enumerate(side)]

    def _moved(self, x: Tensor, feature: Tensor, value: Tensor) -> Tensor:
        """`x` with one feature changed, for each of these features and values: (n, d)."""
        moved = x.repeat(len(feature), 1)
        moved[torch.arange(len(feature)), feature] = value
        return moved

    def _ask(self, x: Tensor) -> Tensor:
        """Answers to the first rows of `x` (n, d): all of them, or those before a refusal."""
        p, refusal = self._oracle.try_ask(x.view(-1, *self._network.shape))
        self._refusal = refusal or self._refusal
        return self._answers.representatives(p) if len(p) else x.new_empty(0, self._network.classes)
