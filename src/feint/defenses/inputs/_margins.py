"""Margin of an input's label, as the forward pass that will answer it computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from feint.errors import BadInput
from feint.models.perturbation import margin_of
from feint.query import ask

# Logits of one input differ with the batch it is in: on ResNet-20 by 1.1e-5 where the largest is 38, which is 2.5 units
# in the last place of float32. The margin, a difference of two, stays at least 8 units away from zero.
UNITS = 8
# The two probabilities are also far enough apart to differ after rounding to 6 decimals.
APART = 3e-6


def forward(
    model: nn.Module, u: Tensor, place: Callable[[Tensor], Tensor] = lambda u: u, *, gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """Compute the logits that the line will compute from the inputs at coordinates `u`.

    Args:
        model: The model.
        u: Coordinates of inputs, (N, …).
        place: Function from coordinates to inputs.
        gradient: Whether a gradient will be taken.

    Returns:
        The logits, (N, K), and the coordinates by which to differentiate them.

    Raises:
        BadInput: if the outputs are not one finite row for each input.
    """
    leaf = u.detach().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        z = ask(model, place(leaf.clone()))  # a copy: some models write into their input
    if z.ndim != 2 or len(z) != len(u) or z.shape[1] < 2 or not z.isfinite().all():
        raise BadInput(f"outputs of shape {tuple(z.shape)}", "(N, K) finite logits, K ≥ 2", "mend or wrap the model")
    return z, leaf


@dataclass(frozen=True)
class MarginModel:
    """Margins of N inputs whose labels are to be preserved.

    Attributes:
        margin: The label's logit less the largest other one, (N,).
        safe: Whether the label is safe, also alone or in another batch, (N,).
        near: Whether the label is safe, and the two largest probabilities are at most the gap apart, (N,).
        excess: The margin less the target margin, (N,): negative where the label is not safe, positive where it is safe
            and not near.
    """

    margin: Tensor
    safe: Tensor
    near: Tensor
    excess: Tensor

    @classmethod
    def of(cls, z: Tensor, label: Tensor, gap: float) -> Self:
        """Return the margins for the logits `z` (N, K); probabilities at most `gap` apart are near."""
        eps = torch.finfo(z.dtype).eps
        z = z.float()
        margin = margin_of(z, label)
        with torch.no_grad():
            p = z.softmax(-1).gather(1, label[:, None])[:, 0]
            apart = -(p * torch.expm1(-margin))  # p - p exp(-margin): the gap between the two, without cancellation
            floor = (UNITS * eps * z.abs().amax(-1)).maximum(APART / p).clamp_min(gap / 2)
            safe = margin >= floor
            near = safe & ((apart <= gap) | (margin <= 2 * floor))
            aim = (1.5 * floor).clamp_min(1.2 * gap)
        return cls(margin, safe, near, (margin - aim).detach())
