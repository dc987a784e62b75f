"""Ordinary queries among which an attacker hides others: copies of 20 images of the task, plain and varied."""

from collections.abc import Callable

import torch
from torch import Tensor

Filler = Callable[[Tensor, int, torch.Generator], Tensor]  # ordinary images (M, C, H, W) and a number of queries


def copies(ordinary: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return copies of the images that differ in the last bit of one value."""
    x = _drawn(ordinary, n, generator)
    flat = x.flatten(1)
    at = torch.randint(flat.shape[1], (n,), generator=generator)
    values = (flat[torch.arange(n), at] * 255).round()
    flat[torch.arange(n), at] = torch.where(values > 0, values - 1, values + 1) / 255
    return flat.view_as(x)


def varied(ordinary: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return copies that perceptual codes tell apart: mirrored, moved by up to 4 pixels, and darkened."""
    x = _drawn(ordinary, n, generator)
    for i in range(n):
        moves = torch.randint(-4, 5, (2,), generator=generator).tolist()
        x[i] = x[i].roll(moves, (-2, -1)) * (0.8 + 0.2 * torch.rand(1, generator=generator))
        if torch.rand(1, generator=generator) < 0.5:
            x[i] = x[i].flip(-1)
    return (x * 255).round() / 255


def _drawn(ordinary: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return ordinary[torch.randint(len(ordinary), (n,), generator=generator)]


FILLERS: dict[str, Filler] = {"copies": copies, "varied": varied}
