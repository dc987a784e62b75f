"""Adversarial perturbation: steps from an input towards the boundary of its class.

All steps descend the margin z_m − max_{j≠m} z_j. The gradient of the cross-entropy, which the literature uses, is zero
in float32 as soon as the label's probability rounds to 1.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.errors import BadInput, BadRecipe

FAR = 1e9  # a length at which every pixel that can move is black or white
Memory = tuple[Tensor, ...]  # state of a step for each row; () before its first move


@dataclass(frozen=True)
class StepState:
    """Present inputs of N rows, with their margins and gradients.

    Attributes:
        x: Present inputs (N, …).
        origin: Inputs (N, …) at the start.
        margin: Margins (N,) at `x`.
        gradient: Gradients (N, …) of the margins at `x`; at the origin throughout for a step with `one_gradient`.
    """

    x: Tensor
    origin: Tensor
    margin: Tensor
    gradient: Tensor


class GradientStep(ABC):
    """Recipe of a step. It is stateless: `move` takes and returns the state of each row.

    Attributes:
        cite: Key of the source in the bibliography.
        one_gradient: Whether the step needs the gradient at the origin alone.
    """

    cite: ClassVar[str]
    one_gradient: ClassVar[bool] = False

    @abstractmethod
    def move(self, at: StepState, memory: Memory) -> tuple[Tensor, Memory]:
        """Return the next inputs (N, …) in [0, 1], and the next state of the rows."""


def _positive(recipe: object, *values: float) -> None:
    if not all(0 < value < math.inf for value in values):
        raise BadRecipe(repr(recipe), "finite numbers above 0", "change them")


@dataclass(frozen=True)
class PGD(GradientStep):
    """Projected gradient descent (Madry et al., ICLR 2018): a step along the gradient's sign, then a projection.

    The random start is left out, since the same query must get the same answer.

    Attributes:
        step: Change of each pixel in one step.
        radius: Largest change of each pixel in all.
    """

    cite: ClassVar[str] = "madry2018towards"
    step: float = 1 / 255
    radius: float = 8 / 255

    def __post_init__(self) -> None:
        _positive(self, self.step, self.radius)

    def move(self, at: StepState, memory: Memory) -> tuple[Tensor, Memory]:
        x = at.x - self.step * at.gradient.sign()
        return (at.origin + (x - at.origin).clamp(-self.radius, self.radius)).clamp(0, 1), memory


@dataclass(frozen=True)
class FGSM(GradientStep):
    """Fast gradient sign method (Goodfellow et al., ICLR 2015): a step of `step` along the sign, without a radius."""

    cite: ClassVar[str] = "goodfellow2015explaining"
    step: float = 1 / 255

    def __post_init__(self) -> None:
        _positive(self, self.step)

    def move(self, at: StepState, memory: Memory) -> tuple[Tensor, Memory]:
        return PGD(self.step, radius=1.0).move(at, memory)


@dataclass(frozen=True)
class CW(GradientStep):
    """A step of Adam on margin + weight · ‖x − origin‖² (after Carlini and Wagner, S&P 2017).

    The variables are pixels, clipped to [0, 1]: the paper's tanh has no gradient at black and white.
    """

    cite: ClassVar[str] = "carlini2017towards"
    learning_rate: float = 1 / 255
    weight: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, self.learning_rate)
        if not 0 <= self.weight < math.inf:
            raise BadRecipe(repr(self), "a weight of 0 or more", "change it")

    def move(self, at: StepState, memory: Memory) -> tuple[Tensor, Memory]:
        g = at.gradient + 2 * self.weight * (at.x - at.origin)
        first, second, count = memory or (torch.zeros_like(g), torch.zeros_like(g), torch.zeros_like(at.margin))
        first, second, count = torch.lerp(first, g, 0.1), torch.lerp(second, g * g, 0.001), count + 1
        unbiased = first / per_row(1 - 0.9**count, g)
        spread = (second / per_row(1 - 0.999**count, g)).sqrt() + 1e-8
        return (at.x - self.learning_rate * unbiased / spread).clamp(0, 1), (first, second, count)


@dataclass(frozen=True)
class DeepFool(GradientStep):
    """Newton's step on the margin, with a new gradient each time (after Moosavi-Dezfooli et al., CVPR 2016).

    The step is x − overshoot · margin · g / ‖g‖². The rival class is the nearest in logits, not in distance.
    """

    cite: ClassVar[str] = "moosavi2016deepfool"
    overshoot: float = 1.3

    def __post_init__(self) -> None:
        _positive(self, self.overshoot)

    def move(self, at: StepState, memory: Memory) -> tuple[Tensor, Memory]:
        direction, steepness = descent_direction(at.gradient)
        length = (self.overshoot * at.margin / steepness).clamp_max(FAR)
        return (at.x + per_row(length, at.x) * direction).clamp(0, 1), memory


@dataclass(frozen=True)
class Ray(GradientStep):
    """Line search along one gradient, with forward passes alone after the first step.

    The first length is that of `DeepFool`. The next lengths follow the secant of the last two margins, `overshoot`
    times as far, and between 1.3 and 4 times the last length. This method of the project is the cheapest: a backward
    pass costs two forward passes, and ResNet-20 reaches the boundary after 2.2 of these. The direction is the gradient
    itself: its sign would jump where a component is nearly zero, and the answer to a query would depend on its batch.
    """

    cite: ClassVar[str] = "moosavi2016deepfool"
    one_gradient: ClassVar[bool] = True
    overshoot: float = 1.3

    def __post_init__(self) -> None:
        _positive(self, self.overshoot)

    def move(self, at: StepState, memory: Memory) -> tuple[Tensor, Memory]:
        direction, steepness = descent_direction(at.gradient)
        if memory:
            shorter, before, margin = memory
            fall = (margin - at.margin) / (before - shorter)
            secant = torch.where(fall > 0, before + self.overshoot * at.margin / fall, torch.inf)
            length = secant.clamp(1.3 * before, 4 * before)
        else:
            before, length = torch.zeros_like(at.margin), self.overshoot * at.margin / steepness
        length = length.clamp_max(FAR)
        return (at.origin + per_row(length, at.x) * direction).clamp(0, 1), (before, length, at.margin)


def descent_direction(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the direction (N, …) of length 1 in which a margin falls, and the gradient's norm (N,)."""
    steepness = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return -gradient / per_row(steepness, gradient), steepness


def per_row(values: Tensor, x: Tensor) -> Tensor:
    """Return `values` (N,) in a shape that multiplies the rows of `x` (N, …)."""
    return values.view(-1, *[1] * (x.ndim - 1))


def margin_of(z: Tensor, label: Tensor) -> Tensor:
    """Return the margins (N,) of logits `z` (N, K): the logit of `label` (N,) minus the largest of the others."""
    index = label[:, None]
    return (z.gather(1, index) - z.scatter(1, index, -torch.inf).amax(-1, keepdim=True))[:, 0]


def margin_gradient(margin: Tensor, leaf: Tensor) -> Tensor:
    """Compute the gradient of each row's margin in its input.

    Args:
        margin: Margins (N,).
        leaf: Inputs (N, …), a leaf of their graph.

    Returns:
        Gradients (N, …).

    Raises:
        BadInput: The model has no gradient. Its inputs would otherwise be answered undefended.
    """
    gradient = torch.autograd.grad(margin.sum(), leaf, allow_unused=True)[0] if margin.requires_grad else None
    if gradient is None:
        raise BadInput(
            "a model without gradients", "logits that torch can differentiate", "use an output defense instead"
        )
    return gradient
