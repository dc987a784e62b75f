"""Base of MAD and MAD-argmax: the surrogate, and the way towards a corner of the simplex."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.defenses.outputs._surrogates import random_surrogate, require_surrogate
from feint.defenses.outputs.corners import Gradients, LastLayer
from feint.defenses.outputs.output import Output
from feint.errors import in_range
from feint.fitting import FitContext, Fittable
from feint.models.networks import Network
from feint.victims import Trained


@dataclass(frozen=True)
class AngularDeviation(Output, Fittable):
    """Defense that turns the direction in which an answer pulls the attacker's weights (Orekondy et al., ICLR 2020).

    The surrogate F is a fixed network with random weights: the victim's architecture, drawn from the seed of `fit`. It
    answers in evaluation mode. In the published code it is in training mode and sees one image at a time, so that its
    answers are less sure; at three other networks the angle is the same to within 3°.

    Attributes:
        epsilon: Largest L1 distance of an answer, 0 (the identity) to 2.
        gradients: The parameters w of F in which the angle is measured.
        network: Architecture of F; the victim's where it is None.
        surrogate: F, set by `fit`.
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    epsilon: float = 1.0
    gradients: Gradients = LastLayer()
    network: Network | None = None
    surrogate: Trained | None = None

    def __post_init__(self) -> None:
        in_range(self, "epsilon", "0 (the identity) to 2, the largest L1 distance", 0, 2)

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with a surrogate of random weights; the data are not used."""
        return replace(self, surrogate=random_surrogate(context, self.network))

    @abstractmethod
    def deviate(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        """Return the answers that turn the gradients the most.

        Args:
            model: The surrogate.
            x: Inputs, (N, …).
            p: Clean answers, (N, K).

        Returns:
            Answers within `epsilon` of `p` in L1, (N, K).
        """

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.epsilon == 0:
            return p
        model = require_surrogate(self.surrogate, p, x)
        assert x is not None  # `require_surrogate` checked it
        return self.deviate(model, x, p)

    def towards(self, corner: Tensor, p: Tensor) -> Tensor:
        """Return (1 − a)p + a·corner, with the largest a ≤ 1 for which ‖q − p‖₁ ≤ ε."""
        distance = (p - corner).abs().sum(-1, keepdim=True)
        return torch.lerp(p, corner, (self.epsilon / distance.clamp_min(1e-12)).clamp_max(1.0))
