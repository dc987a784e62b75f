"""Decision trees built of axis-aligned boxes of equal answers."""

import bisect

import torch
from torch import Tensor

from feint.attacks.parametric.linear_parameters import normalisation
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network

Nodes = list[tuple[int, float, int, int, Tensor]]  # feature, threshold, left, right, answer
LAST_BITS = 1e-6  # most that two answers of one leaf differ by, since last bits vary from batch to batch


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


def classifier(surrogate: Network, nodes: Nodes) -> Classifier:
    """Return the tree `surrogate` made of these nodes, whose thresholds are for inputs in [0, 1]."""
    model = surrogate.build().eval()
    mean, deviation = normalisation(model)
    feature, threshold, left, right, answer = zip(*nodes, strict=True)
    features = torch.tensor(feature)
    normalised = (torch.tensor(threshold, dtype=torch.float64) - mean[features]) / deviation[features]
    p = torch.stack(answer)
    state = {
        "feature": features, "threshold": normalised.float(), "left": torch.tensor(left), "right": torch.tensor(right),
        "logits": p.clamp_min(torch.finfo(p.dtype).tiny).log().float(),
    }  # fmt: skip
    model.load_state_dict({f"body.{name}": tensor for name, tensor in state.items()})
    return model


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


def build_tree(low: Tensor, high: Tensor, p: Tensor) -> Nodes:
    """Build a tree whose leaves are boxes.

    The leaves of a tree can be separated by a threshold that cuts none of them, and so can those on either side. Where
    boxes are missing or contradict each other, the threshold that cuts the fewest separates them, and each of the
    pieces keeps its answer.

    Args:
        low: Lower corners (n, d) of the boxes.
        high: Upper corners (n, d) of the boxes.
        p: Answers (n, K) in the boxes.

    Returns:
        The nodes of the tree, the root first; leaves have no children.
    """
    nodes: Nodes = []
    queue = [(torch.arange(len(p)), low, high, -1, False)]
    while queue:
        rows, low, high, parent, is_right = queue.pop(0)
        node = len(nodes)
        if parent >= 0:
            feature, threshold, left, right, answer = nodes[parent]
            nodes[parent] = (feature, threshold, *((left, node) if is_right else (node, right)), answer)
        cut = None if (p[rows] == p[rows[0]]).all() else _best_cut(low, high)
        i, t = cut or (0, 0.0)
        nodes.append((i, t, 0, 0, p[rows[0]]))
        if cut is None:
            continue
        for is_right in (False, True):
            inside = high[:, i] > t if is_right else low[:, i] < t
            part_low, part_high = low[inside].clone(), high[inside].clone()
            if is_right:
                part_low[:, i].clamp_(min=t)
            else:
                part_high[:, i].clamp_(max=t)
            queue.append((rows[inside], part_low, part_high, node, is_right))
    return nodes


def _best_cut(low: Tensor, high: Tensor) -> tuple[int, float] | None:
    """Return the feature and threshold that cuts the fewest boxes, and of these the most even one.

    Args:
        low: Lower corners (n, d) of the boxes.
        high: Upper corners (n, d) of the boxes.

    Returns:
        The feature and its threshold, or None if all boxes overlap.
    """
    inside = (high < high.amax(0)) & (high > low.amin(0))
    box, feature = inside.nonzero(as_tuple=True)
    if not len(box):
        return None
    t = high[box, feature]
    lefts, rights = low[:, feature] < t, high[:, feature] > t
    cuts = (lefts & rights).sum(0)
    even = torch.minimum(lefts.sum(0), rights.sum(0))
    best = int((cuts * (len(low) + 1) - even).argmin())
    return int(feature[best]), float(t[best])
