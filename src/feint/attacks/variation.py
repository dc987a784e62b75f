"""Copies of a few inputs: ordinary ones that are not equal, or that perceptual codes tell apart."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from feint.signature import Domain

SHIFT = 1 / 8  # of a side: 4 pixels of 32
ZOOM = 0.15
TURN = math.radians(12)
LEAST_SHARE, MOST_SHARE = 0.1, 0.5  # of another input in a varied row or text


def varied(kinds: Tensor, count: int, domain: Domain, generator: torch.Generator, *, flip: bool = True) -> Tensor:
    """Draw varied copies of inputs.

    Images are shifted, turned, zoomed and mirrored at random, and have 256 levels again. Of a row, a sequence or a text
    a share between 0.1 and 0.5, the same for one call, is another of the inputs, as `Domain.blend` mixes two.

    Args:
        kinds: Inputs (n, …) to copy.
        count: Number of copies.
        domain: Domain of the inputs.
        generator: Generator of all random choices.
        flip: Whether half of the images are mirrored.

    Returns:
        Inputs (count, …).
    """
    x = drawn(kinds, count, generator)
    if x.ndim == 4 and domain.levels:
        return (_moved(x, generator, flip=flip) * domain.levels).round() / domain.levels
    share = LEAST_SHARE + (MOST_SHARE - LEAST_SHARE) * float(torch.rand(1, generator=generator))
    return blended(x, drawn(kinds, count, generator), share, domain, generator)


def altered(kinds: Tensor, count: int, domain: Domain, generator: torch.Generator) -> Tensor:
    """Draw copies of inputs, of which images have one pixel changed by one level, so that hardly two are equal.

    Args:
        kinds: Inputs (n, …) to copy.
        count: Number of copies.
        domain: Domain of the inputs.
        generator: Generator of all random choices.

    Returns:
        Inputs (count, …).
    """
    x = drawn(kinds, count, generator)
    if domain.levels:
        flat = x.flatten(1)
        place = torch.randint(flat.shape[1], (len(flat), 1), generator=generator)
        value = flat.gather(1, place)
        flat.scatter_(1, place, torch.where(value < 0.5, value + 1 / domain.levels, value - 1 / domain.levels))
    return x


def drawn(kinds: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` of the inputs `kinds` (n, …) with replacement."""
    return kinds[torch.randint(len(kinds), (count,), generator=generator)]


def blended(x: Tensor, others: Tensor, share: float, domain: Domain, generator: torch.Generator) -> Tensor:
    """Return `x` (N, …) with a share of `others` (N, …), as `Domain.blend` mixes them."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    return torch.from_numpy(domain.blend(x.numpy(), others.numpy(), share, seed))


def _moved(x: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    """Return images (N, C, H, W), each moved by a random similarity; the border is repeated outwards."""
    draws = torch.rand(5, len(x), generator=generator) * 2 - 1
    angle, zoom, shift = TURN * draws[0], 1 + ZOOM * draws[1], 2 * SHIFT * draws[2:4]
    mirror = torch.where((draws[4] < 0) & flip, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack([cos * mirror, -sin, shift[0], sin * mirror, cos, shift[1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False).clamp(0, 1)
