"""What torch does at once and an ONNX graph has no operator for: each written once for both.

While a graph is traced (`torch.compiler.is_exporting`) the form of the graph is taken; it gives the same numbers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

POOLED = 64  # ONNX has no running maximum: a pool takes m² steps a row in 4 nodes, doubling m log m in 5 log m nodes


def ranking(p: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's values from the largest to the least, and their indices: the lowest one first among equals."""
    if torch.compiler.is_exporting():
        ranked, order = p.topk(p.shape[-1])
        return ranked, _lowest_first(ranked, order)
    ranked, order = p.sort(dim=-1, descending=True, stable=True)
    return ranked, order


def _lowest_first(ranked: Tensor, order: Tensor) -> Tensor:
    """The indices `order` of values from the largest to the least, with the lowest one first among equals.

    ONNX promises that of its TopK, and OpenVINO 2026.4 does not keep it: ten equal classes came out with label 1. So
    the graph orders runs of equal values itself, by whole numbers of which no two are equal.
    """
    falls = (ranked[:, 1:] < ranked[:, :-1]).long().cumsum(-1)
    run = ranked.shape[-1] * torch.cat([torch.zeros_like(order[:, :1]), falls], -1)
    return (run + order).topk(ranked.shape[-1], largest=False).values - run


def leaders(p: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """What `ranking` says of the first `top` ranks, without sorting the others."""
    if torch.compiler.is_exporting():
        ranked, order = ranking(p)
        return ranked[:, :top], order[:, :top]
    ranked, order = p.topk(top + 1 if top < p.shape[-1] else top)
    tied = (ranked[:, 1:] == ranked[:, :-1]).any(-1).nonzero()[:, 0]  # topk breaks ties as it likes
    if len(tied):
        ranked[tied], order[tied] = (it[:, : ranked.shape[-1]] for it in ranking(p[tied]))
    return ranked[:, :top], order[:, :top]


def unrank(ranked: Tensor, order: Tensor) -> Tensor:
    """Rows given best first, put back in the order of the classes: what `ranking` took apart."""
    return torch.empty_like(ranked).scatter_(-1, order, ranked)


def running_maximum(values: Tensor) -> Tensor:
    """The largest value so far along each row (N, m)."""
    if not torch.compiler.is_exporting():
        return values.cummax(-1).values
    m = values.shape[-1]
    if m <= POOLED:
        return F.max_pool1d(F.pad(values[:, None], (m - 1, 0), value=-torch.inf), m, stride=1)[:, 0]
    reach = 1  # each value has seen so many
    while reach < values.shape[-1]:
        seen = torch.maximum(values[:, reach:], values[:, :-reach])
        values = torch.cat([values[:, :reach], seen], -1)
        reach *= 2
    return values


def mended(rows: Tensor, broken: Tensor, mend: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """`rows` (N, …), in place, with `mend(rows, *given)` in those that are `broken` (N,): few, as a rule.

    A graph mends all of them and takes what is needed.
    """
    if torch.compiler.is_exporting():
        return torch.where(broken[:, None], mend(rows, *given), rows)
    which = broken.nonzero()[:, 0]
    if len(which):
        rows[which] = mend(rows[which], *(it[which] for it in given))
    return rows
