"""Maximising angular deviation, prediction poisoning that keeps the label."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from feint.defenses.outputs.angular_deviation import AngularDeviation
from feint.defenses.outputs.ranks import SLACK

STEP = SLACK * 1e-6  # by which the label stands above the others, so that it survives rounding to 6 decimals


@dataclass(frozen=True)
class MADArgmax(AngularDeviation):
    """MAD that keeps the label, MAD-argmax (Orekondy, Schiele and Fritz, ICLR 2020).

    With a surrogate F of random weights and G = ∂ log F(x; w) / ∂w::

        max_q ‖Gᵀq/|Gᵀq| − Gᵀp/|Gᵀp|‖²   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,  argmax q = argmax p

    As in the paper the answer goes towards the best corner of the answers with this label, which is uniform on a set S
    that holds it: q = (1 − a)p + a·u_S with a = ε/‖p − u_S‖₁, at most 1. The published code compares all 2^(K−1) sets
    one by one up to 10 classes and is greedy above. 1.1·10⁻⁶ of q goes to the label, so that ties keep it (the paper's
    bonus is 10⁻⁵).

    F has the victim's architecture and is drawn from the seed of `fit`. `NotFitted` is raised without a surrogate, and
    `BadInput` without `x` or for inputs of another shape or another K.

    Attributes:
        epsilon: ε, 0 (the identity) to 2.
        gradients: The parameters w, and the search for S: `LastLayer`, which is exact up to 12 classes, or
            `AllParameters`.
        network: Architecture of F; the victim's where it is None.
        surrogate: F, set by `fit`.
    """

    @property
    def preserves(self) -> str:
        return "label"

    def deviate(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        chosen = self.gradients.uniform(model, x, p).to(p)
        q = self.towards(chosen / chosen.sum(-1, keepdim=True), p) * (1 - STEP)
        return q.scatter_add_(-1, p.argmax(-1, keepdim=True), torch.full_like(q[:, :1], STEP))
