"""Zeroth-order gradients: forward differences, with all directions in one batch of queries."""

from collections.abc import Callable

import torch
from torch import Tensor

from feint.models.perturbation import per_row


def unit_directions(like: Tensor, *, directions: int, random: torch.Generator) -> Tensor:
    """Draw directions (m, N, …) of length 1, m for each row of `like` (N, …), uniformly on the sphere."""
    u = torch.randn(directions, *like.shape, generator=random, dtype=like.dtype).to(like.device)
    return u / u.flatten(2).norm(dim=2).clamp_min(torch.finfo(u.dtype).tiny).view(*u.shape[:2], *[1] * (u.ndim - 2))


@torch.no_grad()
def forward_differences(
    values: Callable[[Tensor], Tensor], x: Tensor, *, directions: int, step: float, random: torch.Generator
) -> Tensor:
    """Estimate the gradient of each row's value by forward differences.

    With m random directions u_i for each row the estimate is

        (d / m) Σ_i (f(x + ε u_i) − f(x)) / ε · u_i        ‖u_i‖ = 1, d numbers in a row, step ε

    It is unbiased for linear f, since E[d · u uᵀ] = 1.

    Args:
        values: Returns f (n,) for inputs (n, …). It is called once, with (1 + m) · N inputs: `x` itself, then the
            neighbours of all rows in the first direction, in the second, and so on.
        x: Inputs (N, …).
        directions: m, directions for each row.
        step: ε, length of a step.
        random: Generator of the directions.

    Returns:
        The estimated gradients (N, …).
    """
    u = unit_directions(x, directions=directions, random=random)
    f = values(torch.cat([x[None], x + step * u]).flatten(0, 1)).unflatten(0, (1 + directions, len(x)))
    slopes = ((f[1:] - f[0]) / step).to(x.dtype)
    return x[0].numel() / directions * torch.stack([per_row(a, x) * b for a, b in zip(slopes, u, strict=True)]).sum(0)
