"""From boxes of equal answers to the decision tree that they are the leaves of."""

import bisect

import torch
from torch import Tensor

from feint.attacks.parametric.linear_parameters import normalisation
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network

Nodes = list[tuple[int, float, int, int, Tensor]]  # feature, threshold, left, right, answer
LAST_BITS = 1e-6  # by which two answers of one leaf may differ, from batch to batch


class Answers:
    """The different answers so far: one that differs from an earlier one by last bits alone counts as that."""

    def __init__(self) -> None:
        self._sums: list[float] = []  # rising, each with its answer
        self._rows: list[Tensor] = []

    def representatives(self, p: Tensor) -> Tensor:
        """For each of the answers `p` (N, K) the first one that was equal to it but for its last bits, (N, K)."""
        weights = torch.arange(1, p.shape[1] + 1, dtype=torch.float64) / p.shape[1]
        sums = (p.double() @ weights).tolist()
        return torch.stack([self._first(row, at, LAST_BITS * p.shape[1]) for row, at in zip(p, sums, strict=True)])

    def _first(self, row: Tensor, at: float, reach: float) -> Tensor:
        """The earlier answer that equals `row`, whose weighted sum is within `reach`; else `row`, from now on known."""
        i = bisect.bisect_left(self._sums, at - reach)
        while i < len(self._sums) and self._sums[i] <= at + reach:
            if (self._rows[i] - row).abs().max() <= LAST_BITS:
                return self._rows[i]
            i += 1
        place = bisect.bisect_left(self._sums, at)
        self._sums.insert(place, at)
        self._rows.insert(place, row)
        return row


def require_tree(surrogate: Network, epsilon: float) -> None:
    """Raise `BadRecipe` unless the surrogate is a decision tree and `epsilon` a distance that float32 can tell."""
    if surrogate.name != "tree":
        raise BadRecipe(f"the surrogate {surrogate.name!r}", "'tree'", "name it")
    if not 1e-6 <= epsilon <= 0.5:
        raise BadRecipe(f"epsilon={epsilon}", "a distance of 1e-6 to 0.5", "change it")


def classifier(surrogate: Network, nodes: Nodes) -> Classifier:
    """The tree `surrogate` of these nodes, whose thresholds are for inputs in [0, 1]."""
    model = surrogate.build().eval()
    mean, deviation = normalisation(model)
    feature, threshold, left, right, answer = zip(*nodes, strict=True)
    features = torch.tensor(feature)
    at = (torch.tensor(threshold, dtype=torch.float64) - mean[features]) / deviation[features]
    p = torch.stack(answer)
    state = {
        "feature": features, "threshold": at.float(), "left": torch.tensor(left), "right": torch.tensor(right),
        "logits": p.clamp_min(torch.finfo(p.dtype).tiny).log().float(),
    }  # fmt: skip
    model.load_state_dict({f"body.{name}": it for name, it in state.items()})
    return model


def snapped(low: Tensor, high: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The boxes with faces closer than `epsilon` to each other, which are one threshold found twice, made equal."""
    low, high = low.clone(), high.clone()
    for i in range(low.shape[1]):
        values, where = torch.cat([low[:, i], high[:, i]]).unique(return_inverse=True)
        group = torch.cat([values.new_zeros(1), (values.diff() > epsilon).double()]).cumsum(0).long()
        count = int(group[-1]) + 1
        means = values.new_zeros(count).scatter_reduce_(0, group, values, "mean", include_self=False)
        means = torch.where(means < epsilon, 0.0, torch.where(means > 1 - epsilon, 1.0, means))
        low[:, i], high[:, i] = means[group][where].view(2, -1)
    return low, high


def tree_of(low: Tensor, high: Tensor, p: Tensor) -> Nodes:
    """A tree whose leaves are the boxes from `low` to `high` (n, d), with the answers `p` (n, K).

    The leaves of a tree can be parted by a threshold that cuts none of them, and so can those on either side. Where
    boxes are missing or contradict each other, the threshold that cuts the fewest parts them, and each of the pieces
    keeps its answer.
    """
    nodes: Nodes = []
    waiting = [(torch.arange(len(p)), low, high, -1, False)]
    while waiting:
        rows, low, high, parent, is_right = waiting.pop(0)
        here = len(nodes)
        if parent >= 0:
            feature, threshold, left, right, answer = nodes[parent]
            nodes[parent] = (feature, threshold, *((left, here) if is_right else (here, right)), answer)
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
            waiting.append((rows[inside], part_low, part_high, here, is_right))
    return nodes


def _best_cut(low: Tensor, high: Tensor) -> tuple[int, float] | None:
    """The feature and threshold that cuts the fewest boxes, and of these the most even one; None where all overlap."""
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
