"""Gradient redirection: the answer that steers an attacker's parameters in a direction of the owner's choice."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.defenses.outputs._linear_programs import least_cost, least_cost_with_label
from feint.defenses.outputs._surrogates import along, alongside, distilled, ready
from feint.defenses.outputs.output import Output
from feint.defenses.outputs.ranks import SLACK
from feint.errors import in_range
from feint.fitting import FitContext, Fittable
from feint.models.networks import Network
from feint.models.training import Training
from feint.victims import Trained


class Direction(ABC):
    """Where the attacker is to be steered: a direction `v` in the surrogate's parameters."""

    @abstractmethod
    def coefficients(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        """g = G v (N, K): how far each unit of probability moves the attacker along `v`."""


@dataclass(frozen=True)
class AllOnes(Direction):
    """v = 1 in all parameters: every answer pulls the same way, so that the errors add up ("coordinated")."""

    def coefficients(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        return along(model, x, {name: torch.ones_like(it) for name, it in model.named_parameters()})


@dataclass(frozen=True)
class MinInnerProduct(Direction):
    """v = −Gᵀp, away from what the clean answer teaches, for each input on its own ("uncoordinated")."""

    def coefficients(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        return -alongside(model, x, p.float())


@dataclass(frozen=True)
class Watermark(Direction):
    """v = ±1 in each parameter, drawn from `seed`, which the owner keeps to himself.

    The paper's watermark is a gradient that plants a behaviour; a random direction is a stand-in that only the owner
    can look for.
    """

    seed: int = 0

    def coefficients(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        signs = {
            name: torch.randint(0, 2, it.shape, generator=generator).mul_(2).sub_(1).to(it)
            for name, it in model.named_parameters()
        }
        return along(model, x, signs)


@dataclass(frozen=True)
class GRAD2(Output, Fittable):
    """Gradient redirection, GRAD² (Mazeika, Li and Forsyth, ICML 2022).

        max_q ⟨Gᵀq, v⟩   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,   G = ∂ log F(x; w) / ∂w in all parameters w

    of a surrogate F of the attacker, with v = `direction`. The objective is g · q with g = G v, which one forward-mode
    derivative of the batch gives for all classes, and the optimum is greedy: ε/2 goes to the class of the largest g,
    taken from those of the least. With `keep_label` the label stays above all others by 1.1·10⁻⁶, which is another
    linear program, exact as well, and wins where ties and a tiny ε conflict. `epsilon` in [0, 2]; 0 is the identity.

    The surrogate is distilled by `fit` on the victim's answers to `inputs`, and to `outliers` where they are given; the
    paper distils on the attacker's own queries, which an owner does not know. Its network is the victim's unless
    `network` names one. Raises `NotFitted` without a surrogate, `BadInput` without `x` or for another shape or K.
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
        """This recipe with a surrogate that learned the victim's answers to `inputs` and `outliers`."""
        splits = [context.inputs] if context.outliers is None else [context.inputs, context.outliers]
        return replace(
            self,
            surrogate=distilled(
                context.victim, self.network, self.training, splits, seed=context.seed, progress=context.progress
            ),
        )

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.epsilon == 0:
            return p
        model = ready(self.surrogate, p, x)
        assert x is not None  # `ready` saw to it
        g = self.direction.coefficients(model, x, p).to(p.device).double()
        low, high = g.aminmax(dim=-1, keepdim=True)
        cost = (high - g) / (high - low).clamp_min(torch.finfo(torch.float64).tiny)  # in [0, 1], whatever the network
        if self.keep_label:
            return least_cost_with_label(cost, p, self.epsilon, SLACK * 1e-6)
        return least_cost(cost, p, self.epsilon)
