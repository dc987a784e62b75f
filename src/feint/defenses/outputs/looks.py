"""Perceptual hashes of inputs, one for each kind of domain: 64 bits that stay nearly the same for a small change."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from feint.defenses.features import Features, ngrams, simhash, values
from feint.signature import Columns, Domain, Text, Tokens, domain_kind

SIZE, FREQUENCIES = 32, 8
BITS = FREQUENCIES * FREQUENCIES
SLACK = 1e-3  # of coefficients, which are sums of 1,024 pixels in [0, 1], in float32


def hashes(x: Tensor) -> Tensor:
    """Return the perceptual hashes (N, 64) of inputs (N, …) of any domain, as 0 and 1."""
    array = x.detach().cpu().numpy()
    kind = domain_kind(array.dtype)
    if kind in FEATURES:
        return torch.from_numpy(simhash(FEATURES[kind](array))).float()
    return image_hashes(x)


# a row of values in two digits, pairs of tokens, and four bytes of a text
FEATURES: dict[type[Domain], Callable[[np.ndarray], Features]] = {
    Columns: lambda x: values(Columns.canonical(x)), Tokens: lambda x: ngrams(x, 2), Text: lambda x: ngrams(x, 4)
}  # fmt: skip


def image_hashes(x: Tensor) -> Tensor:
    """Return perceptual hashes of images.

    An image is made grey and scaled to 32×32. Each of the 8×8 lowest frequencies of its cosine transform is above their
    median or not. Above is by more than `SLACK`: half of the frequencies of a symmetric image are 0 but for the last
    bits of a matrix product.

    Args:
        x: Images, (N, C, H, W); flat inputs are taken as one line of pixels.

    Returns:
        Hashes of 0 and 1, (N, 64).
    """
    grey = x.mean(1, keepdim=True) if x.ndim == 4 else x.flatten(1)[:, None, None]
    small = nn.functional.interpolate(grey.float(), (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)[
        :, 0
    ]
    lowest = _cosines() @ small @ _cosines().T
    coefficients = lowest.flatten(1)
    median = coefficients[:, 1:].median(-1, keepdim=True).values  # without the mean brightness
    return (coefficients > median + SLACK).float()


@lru_cache(maxsize=1)
def _cosines() -> Tensor:
    """Return the lowest rows of the cosine transform, (8, 32)."""
    frequency, place = torch.arange(FREQUENCIES)[:, None], torch.arange(SIZE)[None]
    return torch.cos(math.pi * frequency * (2 * place + 1) / (2 * SIZE))
