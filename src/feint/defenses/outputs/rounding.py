"""Rounding to few decimals."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.output import Output
from feint.defenses.outputs.rows import ranking, replace_rows
from feint.errors import in_range


@dataclass(frozen=True)
class Rounding(Output):
    """Rounding to `decimals` with rows that still sum to 1 (rounding: Tramèr et al., USENIX 2016).

    The method is largest remainders. Each class gets its probability in units of the last decimal, rounded. Units that
    the sum then lacks go to the classes that rounding moved down the farthest, one each; units in excess are taken from
    those that it moved up the farthest.

    The label is kept. Rounding never inverts two classes, and of two with equal counts the better one has the larger
    remainder; it can only make them equal. Where the label would then not be first, a unit passes to it from the class
    that is. So a value is within one unit of the clean one, or two where a unit passed.

    Attributes:
        decimals: Decimals of an answer, 1 to 6; no number is the identity.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    decimals: int = 3

    def __post_init__(self) -> None:
        in_range(self, "decimals", "1 to 6, what float32 can tell apart near 1", 1, 6)

    @property
    def preserves(self) -> str:
        return "label"

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        units = 10.0**self.decimals
        counts = (p * units).round_()
        # Where the sum is right and Σ n² shows that one class has more than half, rounding was enough, 8 times faster.
        enough = (counts.sum(-1) == units).logical_and_(counts.square().sum(-1) > 0.51 * units**2)
        return replace_rows(counts, enough.logical_not_(), lambda _, p: _apportion(p, units), p).div_(units)


def _apportion(p: Tensor, units: float) -> Tensor:
    """Return whole numbers (N, K) that sum to `units` in the proportions of `p`, its label first among the largest."""
    label = p.argmax(-1, keepdim=True)
    exact = p.double()
    exact.mul_(units / exact.sum(-1, keepdim=True))
    counts = exact.round()
    lacking = units - counts.sum(-1, keepdim=True)
    remainders = (exact - counts).scatter_add_(-1, label, exact.new_full(label.shape, 1e-9))  # first among equals
    _, order = ranking(remainders.mul_(lacking.sign()))
    ranks = torch.arange(p.shape[-1], device=p.device)
    counts.scatter_add_(-1, order, (ranks < lacking.abs()) * lacking.sign())
    one = exact.new_ones(label.shape)
    counts.scatter_add_(-1, counts.argmax(-1, keepdim=True), -one).scatter_add_(-1, label, one)
    return counts.to(p.dtype)
