"""How attacks craft what they ask: from inputs of their own, down a value of the surrogate's logits."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from feint.models.perturbation import GradientStep, Memory, StepState, margin_gradient
from feint.query import channels_last

Value = Callable[[Tensor, Tensor], Tensor]  # (logits (n, K), which rows (n,)) to what is to become smaller, (n,)


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
    """Where `steps` steps lead from `x` (N, …) in [0, 1], down `value`: one forward and one backward pass for each.

    `start` (N, …) is where they begin, if not at `x` itself. A row whose value is below `floor` has arrived: it leaves
    the batch and stays where it is.
    """
    here = (x if start is None else start).clone()
    rows, memory = torch.arange(len(x), device=x.device), ()
    for _ in range(steps):
        leaf = here[rows].requires_grad_()
        with torch.enable_grad():
            values = value(surrogate(channels_last(leaf)), rows)
        going = values.detach() >= floor
        if not going.any():
            break
        gradient, values = margin_gradient(values, leaf)[going], values.detach()[going]
        rows, memory = rows[going], _kept(memory, going)
        here[rows], memory = step.move(StepState(here[rows], origin=x[rows], margin=values, gradient=gradient), memory)
    return here


def _kept(memory: Memory, going: Tensor) -> Memory:
    return tuple(it[going] for it in memory)


def log_odds(z: Tensor, label: Tensor) -> Tensor:
    """log p_y / (1 − p_y) (N,) of `label` y under the logits `z` (N, K).

    The probability p_y rises with it and the cross-entropy −log p_y falls, so its gradient has the signs of theirs. It
    has them too where p_y rounds to 1 and both of their gradients are zero in float32.
    """
    own = label[:, None]
    return z.gather(1, own)[:, 0] - z.scatter(1, own, -torch.inf).logsumexp(-1)
