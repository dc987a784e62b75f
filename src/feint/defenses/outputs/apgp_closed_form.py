"""Closed-form optimum of APGP's objective, without training."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.ranks import OrderPreserving


@dataclass(frozen=True)
class APGPClosedForm(OrderPreserving):
    """Farthest answer that keeps the order of the first `top` ranks, towards which the generator of `APGP` is trained.

    The order allows a polytope of answers whose vertices are uniform on sets of classes: the first n for n ≤ `top`, and
    the first `top` with any others. The distance is largest at a vertex; of all sets of one size the one with the
    *least likely* others is farthest. So with the classes in the sequence r_1 … r_top, r_K, r_{K-1} … r_{top+1}::

        q* = uniform on the first n* of the sequence,   n* = argmax_n d(q_n, p),

    up to the staircase that keeps ties apart. Derived for this project (docs/background/design/apgp.md) from the
    objective of Cheng and Cheng (ICASSP 2023); it is not a method of that paper. A confident victim's answer becomes
    nearly uniform.

    Attributes:
        top: Ranks whose order is preserved; None for all, 1 for the label alone.
        distance: d.
        decimals: Decimals of the API, 1 to 6, in which the order must still show.
        strength: Share of the way from the clean answer, 0 (the identity) to 1.
        epsilon: Largest L1 distance of an answer, up to 2; one number, or one for each label.
    """

    cite: ClassVar[str] = "cheng2023apgp"

    def propose(self, ranked: Tensor, top: int) -> Tensor:
        sequence = _least_likely_first(ranked, top)
        # In float64: of 1,000 classes neighbours of the best n differ by 1e-6, which sums in float32 do not carry, and
        # a service and its exported graph would choose differently.
        best = self.distance.of_prefixes(sequence.double()).argmax(-1)
        return _vertices(ranked.shape[-1], top, ranked.dtype, ranked.device)[best]


def _least_likely_first(ranked: Tensor, top: int) -> Tensor:
    """Return the rows with the values after the first `top` reversed, which is its own inverse."""
    if top >= ranked.shape[-1] - 1:
        return ranked
    return torch.cat([ranked[:, :top], ranked[:, top:].flip(-1)], -1)


@functools.lru_cache(maxsize=16)
def _vertices(classes: int, top: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return (K, K), whose row n − 1 is uniform on the first n classes of the sequence, written best first."""
    prefixes = torch.ones(classes, classes, dtype=dtype, device=device).tril()
    return _least_likely_first(prefixes / prefixes.sum(-1, keepdim=True), top)
