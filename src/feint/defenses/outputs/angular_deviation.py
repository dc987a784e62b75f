"""What MAD and MAD-argmax share: the objective, the surrogate, and the way towards a corner."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.defenses.outputs.corners import Gradients, LastLayer
from feint.defenses.outputs.output import Output
from feint.defenses.outputs.surrogates import drawn, ready
from feint.errors import BadRecipe
from feint.models.networks import Network
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.victims import Trained


@dataclass(frozen=True)
class AngularDeviation(Output):
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
        if not 0 <= self.epsilon <= 2:
            raise BadRecipe(f"epsilon={self.epsilon}", "0 (the identity) to 2, the largest L1 distance", "change it")

    def fit(
        self,
        victim: nn.Module,
        inputs: Split,
        *,
        outliers: Split | None = None,
        seed: int = 0,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> Self:
        """This recipe with a surrogate of random weights; the data are not looked at."""
        return replace(self, surrogate=drawn(victim, self.network, seed))

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
