"""Perceptual hashes of inputs, one for each kind of domain: 64 bits that stay nearly the same for a small change."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from feint.defenses.features import Features, ngrams, simhash, values
from feint.signature import Columns, Domain, Text, Tokens, domain_kind
from feint.signature.pixels import SLACK, low_frequencies

BITS = 64


def hashes(x: Tensor) -> Tensor:
    """Return the perceptual hashes (N, 64) of inputs (N, …) of any domain, as 0 and 1."""
    array = x.detach().cpu().numpy()
    kind = domain_kind(array.dtype)
    bits = simhash(FEATURES[kind](array)) if kind in FEATURES else image_hashes(array)
    return torch.from_numpy(bits).float()


# a row of values in two digits, pairs of tokens, and four bytes of a text
FEATURES: dict[type[Domain], Callable[[np.ndarray], Features]] = {
    Columns: lambda x: values(Columns.canonical(x)), Tokens: lambda x: ngrams(x, 2), Text: lambda x: ngrams(x, 4)
}  # fmt: skip


def image_hashes(x: np.ndarray) -> np.ndarray:
    """Return perceptual hashes of images: whether each low frequency is above their median, but for the mean.

    Above is by more than `SLACK`, since half of the frequencies of a symmetric image are 0 but for the last bits of a
    matrix product.

    Args:
        x: Images, (N, C, H, W); flat inputs are taken as one line of pixels.

    Returns:
        Hashes of 0 and 1, (N, 64).
    """
    values = low_frequencies(x if x.ndim == 4 else x.reshape(len(x), 1, 1, -1))
    return values > np.median(values[:, 1:], axis=1, keepdims=True) + SLACK
