"""Operations on rows for which an ONNX graph has no operator, each written once for torch and for the graph.

While a graph is traced (`torch.compiler.is_exporting`) the form of the graph is taken; it gives the same numbers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

POOLED = 64  # ONNX has no running maximum: a pool takes m² steps a row in 4 nodes, doubling m log m in 5 log m nodes


def ranking(p: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's values from the largest to the least, and their indices: the lowest one first among equals."""
    if torch.compiler.is_exporting():
        ranked, order = p.topk(p.shape[-1])
        return ranked, _lowest_first(ranked, order)
    ranked, order = p.sort(dim=-1, descending=True, stable=True)
    return ranked, order


def _lowest_first(ranked: Tensor, order: Tensor) -> Tensor:
    """Return the indices `order` of values sorted from the largest, with the lowest one first among equals.

    ONNX promises that of its TopK, and OpenVINO 2026.4 does not keep it: ten equal classes came out with label 1. So
    the graph orders runs of equal values itself, by whole numbers of which no two are equal.
    """
    falls = (ranked[:, 1:] < ranked[:, :-1]).long().cumsum(-1)
    run = ranked.shape[-1] * torch.cat([torch.zeros_like(order[:, :1]), falls], -1)
    return (run + order).topk(ranked.shape[-1], largest=False).values - run


def top_ranks(p: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Return the first `top` ranks of `ranking`, without sorting the others.

    Args:
        p: Rows, (N, K).
        top: Number of ranks, at most K.

    Returns:
        Values and indices, both (N, top).
    """
    if torch.compiler.is_exporting():
        ranked, order = ranking(p)
        return ranked[:, :top], order[:, :top]
    ranked, order = p.topk(top + 1 if top < p.shape[-1] else top)
    tied = (ranked[:, 1:] == ranked[:, :-1]).any(-1).nonzero()[:, 0]  # topk breaks ties arbitrarily
    if len(tied):
        ranked[tied], order[tied] = (part[:, : ranked.shape[-1]] for part in ranking(p[tied]))
    return ranked[:, :top], order[:, :top]


def unrank(ranked: Tensor, order: Tensor) -> Tensor:
    """Return rows sorted best first in the order of the classes: the inverse of `ranking`."""
    return torch.empty_like(ranked).scatter_(-1, order, ranked)


def running_maximum(values: Tensor) -> Tensor:
    """Return the largest value so far along each row (N, m)."""
    if not torch.compiler.is_exporting():
        return values.cummax(-1).values
    m = values.shape[-1]
    if m <= POOLED:
        return F.max_pool1d(F.pad(values[:, None], (m - 1, 0), value=-torch.inf), m, stride=1)[:, 0]
    reach = 1  # values that each maximum covers so far
    while reach < values.shape[-1]:
        wider = torch.maximum(values[:, reach:], values[:, :-reach])
        values = torch.cat([values[:, :reach], wider], -1)
        reach *= 2
    return values


def replace_rows(rows: Tensor, chosen: Tensor, compute: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Replace some rows in place; they are few, as a rule. A graph computes all of them and selects.

    Args:
        rows: The rows, (N, …).
        chosen: Which rows to replace, (N,) bool.
        compute: Function of the rows and `arguments` that returns the new rows.
        *arguments: Tensors with N rows.

    Returns:
        The rows.
    """
    if torch.compiler.is_exporting():
        return torch.where(chosen[:, None], compute(rows, *arguments), rows)
    which = chosen.nonzero()[:, 0]
    if len(which):
        rows[which] = compute(rows[which], *(argument[which] for argument in arguments))
    return rows
