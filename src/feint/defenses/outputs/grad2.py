"""Gradient redirection: answers that steer an attacker's parameters in a direction of the owner's choice."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.defenses.outputs._linear_programs import least_cost, least_cost_with_label
from feint.defenses.outputs._surrogates import (
    directional_derivatives,
    distil_surrogate,
    gradient_products,
    require_surrogate,
)
from feint.defenses.outputs.output import Output
from feint.defenses.outputs.ranks import SLACK
from feint.errors import in_range
from feint.fitting import FitContext, Fittable
from feint.models.networks import Network
from feint.models.training import Training
from feint.victims import Trained


class Direction(ABC):
    """Direction `v` in the surrogate's parameters, in which the attacker is to be steered."""

    @abstractmethod
    def coefficients(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        """Return g = G v, how far each unit of probability moves the attacker along `v`.

        Args:
            model: The surrogate.
            x: Inputs, (N, …).
            p: Clean answers, (N, K).

        Returns:
            Coefficients, (N, K).
        """


@dataclass(frozen=True)
class AllOnes(Direction):
    """v = 1 in all parameters: every answer pulls the same way, so that the errors add up ("coordinated")."""

    def coefficients(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        return directional_derivatives(model, x, {name: torch.ones_like(w) for name, w in model.named_parameters()})


@dataclass(frozen=True)
class MinInnerProduct(Direction):
    """v = −Gᵀp, away from the gradient of the clean answer, for each input on its own ("uncoordinated")."""

    def coefficients(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        return -gradient_products(model, x, p.float())


@dataclass(frozen=True)
class Watermark(Direction):
    """v = ±1 in each parameter, drawn from a seed that the owner keeps secret.

    The paper's watermark is a gradient that plants a behaviour; a random direction is a stand-in that only the owner
    can look for.

    Attributes:
        seed: The secret seed.
    """

    seed: int = 0

    def coefficients(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        signs = {
            name: torch.randint(0, 2, w.shape, generator=generator).mul_(2).sub_(1).to(w)
            for name, w in model.named_parameters()
        }
        return directional_derivatives(model, x, signs)


@dataclass(frozen=True)
class GRAD2(Output, Fittable):
    """Gradient redirection, GRAD² (Mazeika, Li and Forsyth, ICML 2022).

    With a surrogate F of the attacker, all its parameters w, and v = `direction`::

        max_q ⟨Gᵀq, v⟩   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,   G = ∂ log F(x; w) / ∂w

    The objective is g · q with g = G v, which one forward-mode derivative of the batch gives for all classes. The
    optimum is greedy: ε/2 goes to the class of the largest g, taken from those of the least.

    The surrogate is distilled by `fit` on the victim's answers to `inputs`, and to `outliers` if there are any; the
    paper distils on the attacker's own queries, which an owner does not know. Its code stops after 10 epochs of a
    cosine of 50; here the rate falls to 0 in 10. `NotFitted` is raised without a surrogate, and `BadInput` without `x`
    or for another shape or K.

    Attributes:
        epsilon: ε, the largest L1 distance of an answer, 0 (the identity) to 2.
        direction: v.
        keep_label: Whether the label stays above all others by 1.1·10⁻⁶. That is another linear program, exact as well.
            The label wins where ties and a tiny ε conflict.
        network: Architecture of F; the victim's where it is None.
        training: Training of F.
        surrogate: F, set by `fit`.
    """

    cite: ClassVar[str] = "mazeika2022steer"
    epsilon: float = 1.0
    direction: Direction = AllOnes()
    keep_label: bool = False
    network: Network | None = None
    training: Training = Training(epochs=10)
    surrogate: Trained | None = None

    def __post_init__(self) -> None:
        in_range(self, "epsilon", "0 (the identity) to 2, the largest L1 distance", 0, 2)

    @property
    def preserves(self) -> str:
        return "label" if self.keep_label else ""

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with a surrogate that learned the victim's answers to `inputs` and `outliers`."""
        return replace(self, surrogate=distil_surrogate(context, self.network, self.training))

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.epsilon == 0:
            return p
        model = require_surrogate(self.surrogate, p, x)
        assert x is not None  # `require_surrogate` checked it
        g = self.direction.coefficients(model, x, p).to(p.device).double()
        low, high = g.aminmax(dim=-1, keepdim=True)
        cost = (high - g) / (high - low).clamp_min(torch.finfo(torch.float64).tiny)  # in [0, 1], whatever the network
        if self.keep_label:
            return least_cost_with_label(cost, p, self.epsilon, SLACK * 1e-6)
        return least_cost(cost, p, self.epsilon)
