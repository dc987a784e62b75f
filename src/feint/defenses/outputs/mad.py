"""Maximising angular deviation, prediction poisoning with any label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.defenses.outputs.angular_deviation import AngularDeviation


@dataclass(frozen=True)
class MAD(AngularDeviation):
    """Maximising angular deviation, MAD (Orekondy, Schiele and Fritz, ICLR 2020).

    With a surrogate F of random weights::

        max_q ‖Gᵀq/|Gᵀq| − Gᵀp/|Gᵀp|‖²   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,   G = ∂ log F(x; w) / ∂w

    As in the paper the answer goes towards the best corner u of the simplex, a one-hot answer: q = (1 − a)p + a·u with
    a = ε/‖p − u‖₁, at most 1. F has the victim's architecture and is drawn from the seed of `fit`. `NotFitted` is
    raised without a surrogate, and `BadInput` without `x` or for inputs of another shape or another K.

    The corner is one fixed class for 77 to 98 % of queries, also in the published code. There it adds the constant ε/2
    to one probability, which an attacker subtracts (`feint.attacks.Subtracted`).

    Attributes:
        epsilon: ε, 0 (the identity) to 2.
        gradients: The parameters w: the last layer alone, as in the published code, or all of them.
        network: Architecture of F; the victim's where it is None.
        surrogate: F, set by `fit`.
    """

    countermeasures: ClassVar[Mapping[str, str]] = {"subtracted": "Subtracted()"}

    @property
    def preserves(self) -> str:
        return ""

    def deviate(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        corner = self.gradients.one_hot(model, x, p)
        return self.towards(torch.zeros_like(p).scatter_(-1, corner[:, None], 1.0), p)
