"""What MAD and MAD-argmax share: the objective, the surrogate, and the way towards a corner."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.defenses.outputs._surrogates import drawn, ready
from feint.defenses.outputs.corners import Gradients, LastLayer
from feint.defenses.outputs.output import Output
from feint.errors import in_range
from feint.fitting import FitContext, Fittable
from feint.models.networks import Network
from feint.victims import Trained


@dataclass(frozen=True)
class AngularDeviation(Output, Fittable):
    """A defense that turns the direction in which an answer pulls the attacker's weights (Orekondy et al., ICLR 2020).

    F is a fixed network with random weights: the victim's architecture, drawn from the seed of `fit`. `gradients` names
    the parameters w that count. `epsilon` in [0, 2] is the largest L1 distance; 0 is the identity.
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    epsilon: float = 1.0
    gradients: Gradients = LastLayer()
    network: Network | None = None
    surrogate: Trained | None = None

    def __post_init__(self) -> None:
        in_range(self, "epsilon", "0 (the identity) to 2, the largest L1 distance", 0, 2)

    def fit_from(self, context: FitContext) -> Self:
        """This recipe with a surrogate of random weights; the data are not looked at."""
        return replace(self, surrogate=drawn(context.victim, self.network, context.seed))

    @abstractmethod
    def deviate(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        """The answers (N, K) within `epsilon` of `p` (N, K) that turn the gradients of `model` on `x` the most."""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.epsilon == 0:
            return p
        model = ready(self.surrogate, p, x)
        assert x is not None  # `ready` saw to it
        return self.deviate(model, x, p)

    def towards(self, corner: Tensor, p: Tensor) -> Tensor:
        """(1 − a)p + a·corner, as far as ‖q − p‖₁ ≤ ε allows."""
        distance = (p - corner).abs().sum(-1, keepdim=True)
        return torch.lerp(p, corner, (self.epsilon / distance.clamp_min(1e-12)).clamp_max(1.0))
