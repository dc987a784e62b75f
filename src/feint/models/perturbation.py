"""How to go from an input towards the boundary of its class: one step of the attacks of the field.

All go down the margin z_m − max_{j≠m} z_j. The gradient of the cross-entropy, which the literature uses, is zero in
float32 as soon as the label's probability rounds to 1.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.errors import BadInput, BadRecipe

FAR = 1e9  # a length at which every pixel that can move is black or white
Memory = tuple[Tensor, ...]  # what a step remembers of each row; () before its first move


@dataclass(frozen=True)
class StepState:
    """Where N rows are: `x` (N, …), the `origin` they came from, the `margin` (N,) there and its `gradient` (N, …).

    For a step that takes one gradient, it is that at the origin throughout.
    """

    x: Tensor
    origin: Tensor
    margin: Tensor
    gradient: Tensor


class GradientStep(ABC):
    """A recipe of a step. It holds no state: what it must remember of a row goes in and out of `move`."""

    cite: ClassVar[str]
    one_gradient: ClassVar[bool] = False

    @abstractmethod
    def move(self, at: StepState, memory: Memory) -> tuple[Tensor, Memory]:
        """The next inputs (N, …) in [0, 1], and what to remember."""


def _positive(recipe: object, *values: float) -> None:
    if not all(0 < value < math.inf for value in values):
        raise BadRecipe(repr(recipe), "finite numbers above 0", "change them")


@dataclass(frozen=True)
class PGD(GradientStep):
    """A step of `step` along the gradient's sign, kept within `radius` of the input in every pixel (Madry et al.,
    ICLR 2018); without the random start, since the same query must get the same answer."""

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
    """A step of `step` along the gradient's sign (Goodfellow et al., ICLR 2015): PGD without limits."""

    cite: ClassVar[str] = "goodfellow2015explaining"
    step: float = 1 / 255

    def __post_init__(self) -> None:
        _positive(self, self.step)

    def move(self, at: StepState, memory: Memory) -> tuple[Tensor, Memory]:
        return PGD(self.step, radius=1.0).move(at, memory)


@dataclass(frozen=True)
class CW(GradientStep):
    """A step of Adam on margin + weight · ‖x − origin‖² (after Carlini and Wagner, S&P 2017).

    In pixels, clipped to [0, 1]: their change of variables, tanh, has no gradient at black and white.
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
    """Newton's step on the margin, with a new gradient each time (after Moosavi-Dezfooli et al., CVPR 2016):
    x − overshoot · margin · g / ‖g‖². The rival class is the nearest in logits, not in distance."""

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
    """One gradient gives the direction; from then on the ray is followed by forward passes alone.

    The first length is DeepFool's; the next ones follow the secant of the last two margins, `overshoot` times as far
    and never less than 1.3 or more than 4 times the length. A method of this project: the cheapest one, since a
    backward pass costs two forward ones and the boundary is met after 2.2 of these on ResNet-20. The direction is the
    gradient itself, not its sign: a sign jumps where a component is nearly zero, and with it the answer to a query
    whose batch is another one.
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
    """The direction (N, …) of length 1 that goes down a margin, and how steep it is (N,)."""
    steepness = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return -gradient / per_row(steepness, gradient), steepness


def per_row(values: Tensor, x: Tensor) -> Tensor:
    """`values` (N,) in a shape that multiplies the rows of `x` (N, …)."""
    return values.view(-1, *[1] * (x.ndim - 1))


def margin_of(z: Tensor, label: Tensor) -> Tensor:
    """The logit of `label` (N,) less the largest of the others, for `z` (N, K)."""
    own = label[:, None]
    return (z.gather(1, own) - z.scatter(1, own, -torch.inf).amax(-1, keepdim=True))[:, 0]


def margin_gradient(margin: Tensor, leaf: Tensor) -> Tensor:
    """The gradient (N, …) of each row's margin in its own input. Raises `BadInput` where the model has none: an input
    that nothing leads away from would be answered undefended."""
    found = torch.autograd.grad(margin.sum(), leaf, allow_unused=True)[0] if margin.requires_grad else None
    if found is None:
        raise BadInput(
            "a model without gradients", "logits that torch can differentiate", "use an output defense instead"
        )
    return found
