"""Maximising angular deviation: prediction poisoning, with any label."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from feint.defenses.outputs.angular_deviation import AngularDeviation


@dataclass(frozen=True)
class MAD(AngularDeviation):
    """Maximising angular deviation, MAD (Orekondy, Schiele and Fritz, ICLR 2020).

        max_q ‖Gᵀq/|Gᵀq| − Gᵀp/|Gᵀp|‖²   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,   G = ∂ log F(x; w) / ∂w

    as in the paper: the best corner u of the simplex, a one-hot answer, and q = (1 − a)p + a·u with a = ε/‖p − u‖₁, at
    most 1. F is a fixed network with random weights: the victim's architecture, drawn from the seed of `fit`.
    `gradients` names the parameters w: the last layer alone, as in the published code, or all of them.
    `epsilon` in [0, 2]; 0 is the identity.

    Raises `NotFitted` without a surrogate, `BadInput` without `x` or for inputs of another shape or another K.
    """

    @property
    def preserves(self) -> str:
        return ""

    def deviate(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        corner = self.gradients.one_hot(model, x, p)
        return self.towards(torch.zeros_like(p).scatter_(-1, corner[:, None], 1.0), p)
