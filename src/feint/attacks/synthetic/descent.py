"""Gradient descent of inputs on a value of the surrogate's logits."""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from feint.attacks.ranges import Ranges
from feint.errors import BadInput
from feint.models.networks import Network
from feint.models.perturbation import GradientStep, Memory, StepState, margin_gradient
from feint.query import channels_last
from feint.signature import Columns, Domain, Pixels, Text, Tokens

SLOPED: tuple[type[Domain], ...] = (Pixels, Columns)  # domains in which a gradient leads to other inputs
RECOMBINED: Mapping[type[Domain], str] = dict.fromkeys(
    (Tokens, Text), "NGramQueries"
)  # what makes new inputs of others
Value = Callable[[Tensor, Tensor], Tensor]  # logits (n, K) and their rows (n,) in the batch to values (n,) to minimise


class Differentiable(Protocol):
    """Model whose logits have a slope in its inputs.

    Attributes:
        domain: Domain of the inputs.
    """

    @property
    def domain(self) -> Domain: ...

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return the logits (N, K) of inputs (N, …)."""
        ...


def descend(
    surrogate: Differentiable,
    x: Tensor,
    value: Value,
    step: GradientStep,
    *,
    steps: int = 1,
    noise: Tensor | None = None,
    floor: float = -math.inf,
) -> Tensor:
    """Move inputs down a value of the surrogate's logits; each step costs one forward and one backward pass.

    Lengths are shares of the usual range of each number, which is that of a pixel. The points that are reached become
    the nearest valid inputs. Categories have no slope, and missing values stay missing.

    Args:
        surrogate: Model from inputs (n, …) to logits (n, K).
        x: Inputs (N, …).
        value: Value (n,) to minimise, of the logits (n, K) of the rows (n,).
        step: Recipe of one step.
        steps: Most steps for a row.
        noise: Change (N, …) of `x` before the first step; none by default.
        floor: A row whose value is below `floor` takes no further step, and leaves the batch.

    Returns:
        The inputs (N, …) that are reached.
    """
    ranges = Ranges(surrogate.domain)
    origin = ranges.scaled(x)
    moved = origin.clone() if noise is None else (origin + noise).clamp(0, 1)
    rows, memory = torch.arange(len(x), device=x.device), ()
    for _ in range(steps):
        leaf = moved[rows].requires_grad_()
        with torch.enable_grad():
            values = value(surrogate(channels_last(ranges.numbers(leaf))), rows)
        active = values.detach() >= floor
        if not active.any():
            break
        gradient, values = margin_gradient(values, leaf)[active], values.detach()[active]
        rows, memory = rows[active], _select(memory, active)
        moved[rows], memory = step.move(
            StepState(moved[rows], origin=origin[rows], margin=values, gradient=gradient), memory
        )
    return ranges.inputs(moved)


def require_slope(surrogate: Network, instead: str) -> None:
    """Check that the logits of a surrogate have a slope in its inputs.

    Args:
        surrogate: Architecture of the surrogate.
        instead: Name of an attack that needs no slope, for the message.

    Raises:
        BadInput: Trees have none, and neither has a table without numbers.
    """
    leaf = torch.from_numpy(surrogate.domain.sample(8, 0)).requires_grad_()
    with torch.enable_grad():
        z = surrogate.build().eval()(leaf)
    slope = torch.autograd.grad(z[:, 0].sum(), leaf, allow_unused=True)[0] if z.requires_grad else None
    if slope is None or not slope.any():
        raise BadInput(
            f"the surrogate {surrogate.name!r}, whose logits have no slope in these {surrogate.domain.noun}",
            "a network, and inputs with numbers",
            f"use {instead} instead",
        )


def _select(memory: Memory, active: Tensor) -> Memory:
    return tuple(tensor[active] for tensor in memory)


def log_odds(z: Tensor, label: Tensor) -> Tensor:
    """Return the log odds log p_y / (1 − p_y) of each row's label.

    The probability p_y rises with them and the cross-entropy −log p_y falls, so their gradient has the signs of both
    gradients. It keeps them where p_y rounds to 1 and both gradients are zero in float32.

    Args:
        z: Logits (N, K).
        label: Labels y (N,).

    Returns:
        The log odds (N,).
    """
    column = label[:, None]
    return z.gather(1, column)[:, 0] - z.scatter(1, column, -torch.inf).logsumexp(-1)
