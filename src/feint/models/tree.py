"""Decision trees as torch modules. Their size is that of the weights that are loaded."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Tree(nn.Module):
    """Decision tree from features (N, …) to the logits (N, K) of their leaves, without a gradient.

    Node n sends an input to `left[n]` where its feature `feature[n]` is at most `threshold[n]`, and to `right[n]`
    otherwise. It is a leaf where `left[n]` is 0. Children come after their parents. A new tree is a single leaf.

    Args:
        features: Number of features of an input.
        classes: Number K of classes.
        precision: Type of the thresholds, in which features are compared.
    """

    nodes: ClassVar[tuple[str, ...]] = ("feature", "threshold", "left", "right", "logits")
    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    logits: Tensor

    def __init__(self, features: int, classes: int, *, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.features = features
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(1, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(1, dtype=precision))
        self.register_buffer("logits", torch.zeros(1, classes))
        self.register_load_state_dict_pre_hook(_grow)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[self.leaves(x)]

    def leaves(self, x: Tensor) -> Tensor:
        """Return the leaf (N,) of each input of `x` (N, …)."""
        return self.descend(x, torch.zeros(len(x), 1, dtype=torch.int64, device=x.device))[:, 0]

    def descend(self, x: Tensor, node: Tensor) -> Tensor:
        """Return the leaves (N, T) below nodes (N, T) for each input of `x` (N, …)."""
        x = x.flatten(1).to(self.threshold.dtype)
        while (inner := self.left[node] > 0).any():
            goes_left = self.goes_left(x.gather(1, self.feature[node]), node)
            node = torch.where(inner, torch.where(goes_left, self.left[node], self.right[node]), node)
        return node

    def goes_left(self, value: Tensor, node: Tensor) -> Tensor:
        """Return whether the values (N, T) of the nodes' features lead to the left."""
        return value <= self.threshold[node]

    def errors(self, state: dict[str, Tensor]) -> str | None:
        """Return what is wrong with the tensors of a tree, by their names; None where they can be loaded."""
        count, left, right, feature = len(state["left"]), state["left"], state["right"], state["feature"]
        sizes = {len(state[name]) for name in self.nodes}
        if sizes != {count} or not count or any(tensor.is_floating_point() for tensor in (left, right, feature)):
            return "nodes that do not belong together"
        inner, parents = left > 0, torch.arange(count)
        children = torch.stack([left, right])[:, inner]
        if (children <= parents[inner]).any() or (children >= count).any() or (left < 0).any():
            return "nodes that are no tree"
        if (feature < 0).any() or (feature >= self.features).any():
            return "a tree of other inputs"
        return None


class Forest(Tree):
    """Sum of decision trees, from features (N, …) to logits (N, K), without a gradient.

    The nodes of all trees stand one after the other. A missing value, NaN, goes left where `missing_left` of the node
    is set. Where `subset[n]` is not −1, node n compares no threshold: `subsets[subset[n], c]` holds whether category c
    goes left.

    Args:
        features: Number of features of an input.
        classes: Number K of classes.
        precision: Type of the thresholds, in which features are compared.
    """

    nodes: ClassVar[tuple[str, ...]] = (*Tree.nodes, "missing_left", "subset")
    missing_left: Tensor
    subset: Tensor
    subsets: Tensor
    roots: Tensor
    bias: Tensor

    def __init__(self, features: int, classes: int, *, precision: torch.dtype) -> None:
        super().__init__(features, classes, precision=precision)
        self.register_buffer("missing_left", torch.zeros(1, dtype=torch.bool))
        self.register_buffer("subset", torch.full((1,), -1))
        self.register_buffer("subsets", torch.zeros(1, 1, dtype=torch.bool))
        self.register_buffer("roots", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("bias", torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[self.descend(x, self.roots.expand(len(x), -1))].sum(1) + self.bias

    def goes_left(self, value: Tensor, node: Tensor) -> Tensor:
        subset, missing = self.subset[node], value.isnan()
        category = value.nan_to_num().long().clamp(0, self.subsets.shape[1] - 1)
        goes_left = torch.where(subset < 0, value <= self.threshold[node], self.subsets[subset.clamp_min(0), category])
        return torch.where(missing, self.missing_left[node], goes_left)

    def errors(self, state: dict[str, Tensor]) -> str | None:
        subset, subsets, roots = state["subset"], state["subsets"], state["roots"]
        if roots.ndim != 1 or (roots < 0).any() or (roots >= len(state["left"])).any():
            return "roots that are no nodes"
        if subsets.ndim != 2 or not subsets.numel() or (subset >= len(subsets)).any():
            return "subsets of categories that are not there"
        return super().errors(state)


def _grow(tree: Any, state: dict[str, Tensor], prefix: str, *others: Any) -> None:
    """Resize the buffers to the weights that are about to be loaded; append an error where they are no tree."""
    loaded = {name: state[prefix + name] for name, _ in tree.named_buffers() if prefix + name in state}
    if len(loaded) < len(list(tree.buffers())):
        return  # load_state_dict names what is missing
    error = tree.errors(loaded)
    if error is not None:
        others[-1].append(error)
        return
    for name in (*tree.nodes, *({"subsets", "roots"} & loaded.keys())):
        buffer = getattr(tree, name)
        shape = loaded[name].shape if name == "subsets" else (len(loaded[name]), *buffer.shape[1:])
        setattr(tree, name, buffer.new_zeros(shape))
