"""Decision tree as a torch module. Its size is that of the weights that are loaded."""

from typing import Any

import torch
from torch import Tensor, nn

NODES = "feature", "threshold", "left", "right", "logits"


class Tree(nn.Module):
    """Decision tree from inputs (N, …) to the logits (N, K) of their leaves, without a gradient.

    Node n sends an input to `left[n]` where its feature `feature[n]` is at most `threshold[n]`, and to `right[n]`
    otherwise. It is a leaf where `left[n]` is 0. Children come after their parents. A new tree is a single leaf.

    Args:
        features: Number of features of an input.
        classes: Number K of classes.
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
        """Return the leaf (N,) of each input of `x` (N, …)."""
        x = x.flatten(1)
        node = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        while (inner := self.left[node] > 0).any():
            goes_left = x.gather(1, self.feature[node][:, None])[:, 0] <= self.threshold[node]
            node = torch.where(inner, torch.where(goes_left, self.left[node], self.right[node]), node)
        return node


def _grow(tree: Any, state: dict[str, Tensor], prefix: str, *others: Any) -> None:
    """Resize the tree to the weights that are about to be loaded; append an error where they are no tree."""
    nodes = {name: state[prefix + name] for name in NODES if prefix + name in state}
    if len(nodes) < len(NODES):
        return  # load_state_dict names what is missing
    count, errors = len(nodes["left"]), others[-1]
    left, right, feature = nodes["left"], nodes["right"], nodes["feature"]
    sizes = {len(tensor) for tensor in nodes.values()}
    if sizes != {count} or not count or any(tensor.is_floating_point() for tensor in (left, right, feature)):
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
        buffer = getattr(tree, name)
        setattr(tree, name, buffer.new_zeros(count, *buffer.shape[1:]))
