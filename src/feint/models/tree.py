"""A decision tree as a module: a body of a network whose size is that of the weights that are loaded into it."""

from typing import Any

import torch
from torch import Tensor, nn

NODES = "feature", "threshold", "left", "right", "logits"


class Tree(nn.Module):
    """Inputs (N, …) to the logits (N, K) of the leaf that each of them falls into. New, it is a single leaf.

    Node n sends an input to `left[n]` where its feature `feature[n]` is at most `threshold[n]`, and to `right[n]`
    elsewhere; it is a leaf where `left[n]` is 0. Children come after their parents. There is no gradient.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    logits: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.features = features
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(1, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(1))
        self.register_buffer("logits", torch.zeros(1, classes))
        self.register_load_state_dict_pre_hook(_grow)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[self.leaves(x)]

    def leaves(self, x: Tensor) -> Tensor:
        """The leaf (N,) of each input."""
        x = x.flatten(1)
        node = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        while (inner := self.left[node] > 0).any():
            goes_left = x.gather(1, self.feature[node][:, None])[:, 0] <= self.threshold[node]
            node = torch.where(inner, torch.where(goes_left, self.left[node], self.right[node]), node)
        return node


def _grow(tree: Any, state: dict[str, Tensor], prefix: str, *others: Any) -> None:
    """Before weights are loaded: as many nodes as they have, and an error where they are no tree."""
    given = {name: state[prefix + name] for name in NODES if prefix + name in state}
    if len(given) < len(NODES):
        return  # load_state_dict names what is missing
    count, errors = len(given["left"]), others[-1]
    left, right, feature = given["left"], given["right"], given["feature"]
    sizes = {len(it) for it in given.values()}
    if sizes != {count} or not count or any(it.is_floating_point() for it in (left, right, feature)):
        errors.append("nodes that do not belong together")
        return
    inner, parents = left > 0, torch.arange(count)
    children = torch.stack([left, right])[:, inner]
    if (children <= parents[inner]).any() or (children >= count).any() or (left < 0).any():
        errors.append("nodes that are no tree")
        return
    if (feature < 0).any() or (feature >= tree.features).any():
        errors.append("a tree of other inputs")
        return
    for name in NODES:
        mine = getattr(tree, name)
        setattr(tree, name, mine.new_zeros(count, *mine.shape[1:]))
