"""Decision trees built of axis-aligned boxes of equal answers."""

import bisect
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from feint.attacks.parametric.linear_parameters import normalisation
from feint.attacks.parametric.unit_space import UnitSpace
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.simplex import finite_log
from feint.signature import Pixels

LAST_BITS = 1e-6  # most that two answers of one leaf differ by, since last bits vary from batch to batch


class Node(NamedTuple):
    """Node of a tree over points of the unit cube; a leaf has no children.

    Attributes:
        axis: Axis whose value is compared.
        threshold: Greatest value that leads to the left.
        left: Number of the left child, 0 for a leaf.
        right: Number of the right child.
        answer: Answer (K,) of a leaf.
        missing_right: Whether a missing number leads to the right.
    """

    axis: int
    threshold: float
    left: int
    right: int
    answer: Tensor
    missing_right: bool = False


Nodes = list[Node]


class DistinctAnswers:
    """Distinct answers so far; one that differs from an earlier one by last bits alone counts as that."""

    def __init__(self) -> None:
        self._sums: list[float] = []  # rising, each with its answer
        self._rows: list[Tensor] = []

    def representatives(self, p: Tensor) -> Tensor:
        """Return, for each of the answers `p` (N, K), the first one that was equal to it but for last bits, (N, K)."""
        weights = torch.arange(1, p.shape[1] + 1, dtype=torch.float64) / p.shape[1]
        sums = (p.double() @ weights).tolist()
        return torch.stack(
            [self._representative(row, total, LAST_BITS * p.shape[1]) for row, total in zip(p, sums, strict=True)]
        )

    def _representative(self, row: Tensor, total: float, radius: float) -> Tensor:
        """Return an earlier answer that equals `row`, with a weighted sum within `radius`; without one, store `row`."""
        i = bisect.bisect_left(self._sums, total - radius)
        while i < len(self._sums) and self._sums[i] <= total + radius:
            if (self._rows[i] - row).abs().max() <= LAST_BITS:
                return self._rows[i]
            i += 1
        place = bisect.bisect_left(self._sums, total)
        self._sums.insert(place, total)
        self._rows.insert(place, row)
        return row


def require_tree(surrogate: Network, epsilon: float) -> None:
    """Raise `BadRecipe` unless the surrogate is a decision tree and `epsilon` a distance that float32 resolves."""
    if surrogate.name != "tree":
        raise BadRecipe(f"the surrogate {surrogate.name!r}", "'tree'", "name it")
    if not 1e-6 <= epsilon <= 0.5:
        raise BadRecipe(f"epsilon={epsilon}", "a distance of 1e-6 to 0.5", "change it")


def classifier(surrogate: Network, nodes: Nodes, space: UnitSpace) -> Classifier:
    """Return the tree `surrogate` made of these nodes, whose thresholds are those of points of the unit cube."""
    model = surrogate.build().eval()
    questions = _questions(nodes, space)
    feature, threshold, left, right = zip(*questions, strict=True)
    p = torch.stack([answer for node in nodes for answer in [node.answer] * _size(node, space)])
    state = {
        "feature": torch.tensor(feature), "threshold": torch.tensor(threshold, dtype=torch.float64),
        "left": torch.tensor(left), "right": torch.tensor(right),
        "logits": finite_log(p).float(),
    }  # fmt: skip
    if isinstance(surrogate.domain, Pixels):
        mean, deviation = normalisation(model)
        state["threshold"] = (state["threshold"] - mean[state["feature"]]) / deviation[state["feature"]]
    model.load_state_dict({f"body.{name}": tensor for name, tensor in state.items()})
    return model


def _size(node: Node, space: UnitSpace) -> int:
    """Return how many comparisons of an input's values answer the question of a node."""
    axis, optional = space.axes[node.axis], space.missing_axis(node.axis) is not None
    asks_twice = axis.code is not None or (optional and not axis.missing and not node.missing_right)
    return 2 if node.left and asks_twice else 1


def _questions(nodes: Nodes, space: UnitSpace) -> list[tuple[int, float, int, int]]:
    """Return the nodes as comparisons of values: column, threshold, left child and right child.

    No number is above ∞, and NaN is not below it: this is how a comparison asks whether a value is missing. A category
    is the code between two thresholds. A missing number, which is not below any threshold, is sent to the left by a
    comparison before.
    """
    sizes = torch.tensor([_size(node, space) for node in nodes])
    place = (sizes.cumsum(0) - sizes).tolist()
    questions = []
    for node, here, size in zip(nodes, place, sizes.tolist(), strict=True):
        axis, left, right = space.axes[node.axis], place[node.left], place[node.right]
        if not node.left:
            questions.append((0, 0.0, 0, 0))
        elif axis.missing:
            questions.append((axis.column, inf, left, right))
        elif axis.code is not None:
            questions += [(axis.column, axis.code - 0.5, left, here + 1), (axis.column, axis.code + 0.5, right, left)]
        else:
            questions += [(axis.column, inf, here + 1, left)] if size == 2 else []
            questions.append((axis.column, space.threshold(node.axis, node.threshold), left, right))
    return questions


def snap_faces(low: Tensor, high: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Merge faces closer than `epsilon` to each other, which are one threshold found twice.

    Args:
        low: Lower corners (n, d) of the boxes.
        high: Upper corners (n, d) of the boxes.
        epsilon: Largest distance of faces that are merged, and of faces from 0 and 1 that are moved there.

    Returns:
        The corners of the boxes with equal faces, lower and upper.
    """
    low, high = low.clone(), high.clone()
    for i in range(low.shape[1]):
        values, where = torch.cat([low[:, i], high[:, i]]).unique(return_inverse=True)
        group = torch.cat([values.new_zeros(1), (values.diff() > epsilon).double()]).cumsum(0).long()
        count = int(group[-1]) + 1
        means = values.new_zeros(count).scatter_reduce_(0, group, values, "mean", include_self=False)
        means = torch.where(means < epsilon, 0.0, torch.where(means > 1 - epsilon, 1.0, means))
        low[:, i], high[:, i] = means[group][where].view(2, -1)
    return low, high


def build_tree(low: Tensor, high: Tensor, p: Tensor, space: UnitSpace) -> Nodes:
    """Build a tree whose leaves are boxes.

    The leaves of a tree can be separated by a threshold that cuts none of them, and so can those on either side. Where
    boxes are missing or contradict each other, the threshold that cuts the fewest separates them, and each of the
    pieces keeps its answer.

    A box holds missing numbers, too, where it reaches to 1 on their axis, whatever its numbers are. A threshold of such
    a number sends them to the side on which more of these boxes lie.

    Args:
        low: Lower corners (n, d) of the boxes.
        high: Upper corners (n, d) of the boxes.
        p: Answers (n, K) in the boxes.
        space: Unit cube of the inputs.

    Returns:
        The nodes of the tree, the root first; leaves have no children.
    """
    nodes: Nodes = []
    queue = [(_Boxes(low.clone(), high.clone(), p, space), -1, False)]
    while queue:
        boxes, parent, is_right = queue.pop(0)
        node = len(nodes)
        if parent >= 0:
            nodes[parent] = nodes[parent]._replace(**{"right" if is_right else "left": node})
        cut = None if (boxes.p == boxes.p[0]).all() else boxes.best_cut()
        i, t = cut or (0, 0.0)
        missing_right = boxes.sends_missing_right(i, t) if cut else False
        nodes.append(Node(i, t, 0, 0, boxes.p[0], missing_right))
        if cut:
            queue += [(part, node, right) for right, part in enumerate(boxes.divide(i, t, missing_right))]
    return nodes


class _Boxes:
    """Boxes from `low` (n, d) to `high` (n, d) with answers `p` (n, K), below a node."""

    def __init__(self, low: Tensor, high: Tensor, p: Tensor, space: UnitSpace) -> None:
        self.low, self.high, self.p, self._space = low, high, p, space

    def best_cut(self) -> tuple[int, float] | None:
        """Return the axis and threshold that cuts the fewest boxes, and of these the most even one.

        Returns:
            The axis and its threshold, or None if all boxes overlap.
        """
        present = self._present()
        top, bottom = (
            torch.where(present, end, fill) for end, fill in ((self.high, -torch.inf), (self.low, torch.inf))
        )
        box, axis = (present & (top < top.amax(0)) & (top > bottom.amin(0))).nonzero(as_tuple=True)
        if not len(box):
            return None
        t, present = top[box, axis], present[:, axis]
        lefts, rights = (self.low[:, axis] < t) & present, (self.high[:, axis] > t) & present
        cuts = (lefts & rights).sum(0)
        even = torch.minimum(lefts.sum(0), rights.sum(0))
        best = int((cuts * (len(self.low) + 1) - even).argmin())
        return int(axis[best]), float(t[best])

    def sends_missing_right(self, i: int, t: float) -> bool:
        """Return on which side of a threshold more of the boxes lie that hold missing values of the number."""
        missing = self._space.missing_axis(i)
        if missing is None or not self._space.is_number[i]:
            return False
        both = (self.high[:, missing] > 0.5) & (self.low[:, missing] < 0.5)
        return bool((both & (self.low[:, i] >= t)).sum() > (both & (self.high[:, i] <= t)).sum())

    def divide(self, i: int, t: float, missing_right: bool) -> list["_Boxes"]:
        """Return the parts of the boxes on the left and on the right of a threshold."""
        present, missing = self._present()[:, i], self._space.missing_axis(i) if self._space.is_number[i] else None
        parts = []
        for is_right in (False, True):
            inside = present & ((self.high[:, i] > t) if is_right else (self.low[:, i] < t))
            low, high = self.low.clone(), self.high.clone()
            (low if is_right else high)[:, i] = (
                self.low[:, i].clamp(min=t) if is_right else self.high[:, i].clamp(max=t)
            )
            if missing is not None and is_right == missing_right:
                alone = ~inside & (self.high[:, missing] > 0.5)  # only their missing values come this way
                low[alone, missing] = 1.0
                inside = inside | alone
            elif missing is not None:
                high[:, missing] = 0.0
            if is_right and not self._space.is_number[i]:
                high[:, self._space.beside(i) & ~self._space.is_number] = 0.0
            parts.append(_Boxes(low[inside], high[inside], self.p[inside], self._space))
        return parts

    def _present(self) -> Tensor:
        """Return on which axes (n, d) a box has an extent: not on that of a number whose values are all missing."""
        alone = self._space.lacking(self.low)[:, self._space.column]
        return ~(alone & self._space.is_number)
