"""The optimum of APGP's objective without training."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.ranks import OrderPreserving


@dataclass(frozen=True)
class APGPClosedForm(OrderPreserving):
    """The farthest answer that keeps the first `top` ranks: what the generator of `APGP` is trained towards.

    What the order allows is a polytope whose vertices are uniform on sets of classes: the first n for n ≤ `top`, and
    the first `top` with any others. The distance is largest at a vertex; of all sets of one size the one with the
    *least likely* others is farthest. So with the classes in the sequence r_1 … r_top, r_K, r_{K-1} … r_{top+1}

        q* = uniform on the first n* of the sequence,   n* = argmax_n d(q_n, p),

    up to the staircase that keeps ties apart. Derived for this project (docs/background/design/apgp.md) from the
    objective of Cheng and Cheng (ICASSP 2023); it is not a method of that paper. A confident victim's answer becomes
    nearly uniform.
    """

    cite: ClassVar[str] = "cheng2023apgp"

    def propose(self, ranked: Tensor, top: int) -> Tensor:
        sequence = _least_likely_first(ranked, top)
        # In float64: of 1,000 classes neighbours of the best n differ by 1e-6, which sums in float32 do not carry, and
        # a service and its exported graph would choose differently.
        best = self.distance.of_prefixes(sequence.double()).argmax(-1)
        return _vertices(ranked.shape[-1], top, ranked.dtype, ranked.device)[best]


def _least_likely_first(ranked: Tensor, top: int) -> Tensor:
    """The values after the first `top` in reverse; its own inverse."""
    if top >= ranked.shape[-1] - 1:
        return ranked
    return torch.cat([ranked[:, :top], ranked[:, top:].flip(-1)], -1)


@functools.lru_cache(maxsize=16)
def _vertices(classes: int, top: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Row n − 1: uniform on the first n classes of the sequence, written best first. (K, K)"""
    prefixes = torch.ones(classes, classes, dtype=dtype, device=device).tril()
    return _least_likely_first(prefixes / prefixes.sum(-1, keepdim=True), top)
