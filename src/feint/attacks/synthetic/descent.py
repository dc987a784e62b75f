"""Gradient descent of inputs on a value of the surrogate's logits."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from feint.models.perturbation import GradientStep, Memory, StepState, margin_gradient
from feint.query import channels_last

Value = Callable[[Tensor, Tensor], Tensor]  # logits (n, K) and their rows (n,) in the batch to values (n,) to minimise


def descend(
    surrogate: nn.Module,
    x: Tensor,
    value: Value,
    step: GradientStep,
    *,
    steps: int = 1,
    start: Tensor | None = None,
    floor: float = -math.inf,
) -> Tensor:
    """Move inputs down a value of the surrogate's logits; each step costs one forward and one backward pass.

    Args:
        surrogate: Model from inputs (n, …) to logits (n, K).
        x: Inputs (N, …) in [0, 1].
        value: Value (n,) to minimise, of the logits (n, K) of the rows (n,).
        step: Recipe of one step.
        steps: Most steps for a row.
        start: Points (N, …) at which the descent begins; by default `x` itself.
        floor: A row whose value is below `floor` takes no further step, and leaves the batch.

    Returns:
        The points (N, …) in [0, 1] that are reached.
    """
    moved = (x if start is None else start).clone()
    rows, memory = torch.arange(len(x), device=x.device), ()
    for _ in range(steps):
        leaf = moved[rows].requires_grad_()
        with torch.enable_grad():
            values = value(surrogate(channels_last(leaf)), rows)
        active = values.detach() >= floor
        if not active.any():
            break
        gradient, values = margin_gradient(values, leaf)[active], values.detach()[active]
        rows, memory = rows[active], _select(memory, active)
        moved[rows], memory = step.move(
            StepState(moved[rows], origin=x[rows], margin=values, gradient=gradient), memory
        )
    return moved


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
