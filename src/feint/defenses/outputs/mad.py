"""Maximising angular deviation: prediction poisoning, with any label."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.defenses.outputs.corners import Gradients, LastLayer
from feint.defenses.outputs.output import Output
from feint.defenses.outputs.surrogates import drawn, ready
from feint.errors import BadRecipe
from feint.networks import Network
from feint.victims import Trained
from feint.watch import SILENT, Watch


@dataclass(frozen=True)
class MAD(Output):
    """Maximising angular deviation, MAD (Orekondy, Schiele and Fritz, ICLR 2020).

        max_q ‖Gᵀq/|Gᵀq| − Gᵀp/|Gᵀp|‖²   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,   G = ∂ log F(x; w) / ∂w

    as in the paper: the best corner u of the simplex, a one-hot answer, and q = (1 − a)p + a·u with a = ε/‖p − u‖₁, at
    most 1. F is a fixed network with random weights: the victim's architecture, drawn from the seed of `fit`.
    `gradients` names the parameters w: the last layer alone, as in the published code, or all of them.
    `epsilon` in [0, 2]; 0 is the identity.

    Raises `NotFitted` without a surrogate, `BadInput` without `x` or for inputs of another shape or another K.
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    epsilon: float = 1.0
    gradients: Gradients = LastLayer()
    network: Network | None = None
    surrogate: Trained | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 2:
            raise BadRecipe(f"epsilon={self.epsilon}", "0 (the identity) to 2, the largest L1 distance", "change it")

    @property
    def preserves(self) -> str:
        return ""

    def fit(
        self,
        victim: nn.Module,
        inputs: Split,
        *,
        outliers: Split | None = None,
        seed: int = 0,
        watch: Watch = SILENT,
    ) -> Self:
        """This recipe with a surrogate of random weights; the data are not looked at."""
        return replace(self, surrogate=drawn(victim, self.network, seed))

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.epsilon == 0:
            return p
        model = ready(self.surrogate, p, x)
        assert x is not None  # `ready` saw to it
        corner = self.gradients.one_hot(model, x, p)
        return towards(p, torch.zeros_like(p).scatter_(-1, corner[:, None], 1.0), self.epsilon)


def towards(p: Tensor, corner: Tensor, epsilon: float) -> Tensor:
    """(1 − a)p + a·corner, as far as ‖q − p‖₁ ≤ ε allows."""
    distance = (p - corner).abs().sum(-1, keepdim=True)
    return torch.lerp(p, corner, (epsilon / distance.clamp_min(1e-12)).clamp_max(1.0))
