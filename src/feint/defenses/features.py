"""Hashes of what an input is made of: n-grams of sequences and texts, and values of rows.

Two inputs that have most features in common look alike. MinHash compares the sets (Broder, 1997), SimHash sums them up
in 64 bits (Charikar, STOC 2002).
"""

from typing import NamedTuple

import numpy as np

from feint.defenses.keyed_numbers import GOLDEN, mix
from feint.signature.columns import significant

HASHES = 128  # of a MinHash: the standard error of a distance is at most 0.044
AT_ONCE = 2**22  # numbers worked on at once: 32 MiB
NOTHING = np.uint64(2**64 - 1)  # stands for the least hash of an empty set
EXACT = np.uint64(2**24 - 1)  # float32 holds whole numbers of 24 bits


class Features(NamedTuple):
    """Features of N inputs.

    Attributes:
        codes: Hashes (N, F) uint64.
        present: Which of them an input has, (N, F) bool.
    """

    codes: np.ndarray
    present: np.ndarray


def ngrams(x: np.ndarray, n: int, padding: int = 0) -> Features:
    """Return the n-grams of sequences (N, L) of whole numbers; the first ones begin before the sequence.

    Args:
        x: Sequences, padded at their end.
        n: Length of an n-gram.
        padding: Number that fills a sequence up.

    Returns:
        An n-gram for each place of the sequence but the padding.
    """
    length = (x.shape[1] - (x != padding)[:, ::-1].argmax(1)) * (x != padding).any(1)
    before = np.zeros((len(x), n - 1), np.uint64)
    numbers = np.concatenate([before, x.astype(np.uint64) + np.uint64(1)], 1)
    codes = np.zeros(x.shape, np.uint64)
    for k in range(n):
        codes = mix(codes + numbers[:, k : k + x.shape[1]] * GOLDEN)
    return Features(codes, np.arange(x.shape[1]) < length[:, None])


def values(x: np.ndarray, digits: int = 2) -> Features:
    """Return the values of rows (N, D) with the number of their column, in so many significant digits."""
    rounded = significant(x.astype(np.float64), digits)
    rounded = np.where(np.isnan(rounded), np.nan, rounded + 0.0)  # one NaN, and one zero without a sign
    column = np.arange(1, x.shape[1] + 1, dtype=np.uint64) * GOLDEN
    return Features(mix(mix(rounded.view(np.uint64)) + column), np.ones(x.shape, bool))


def minhash(features: Features) -> np.ndarray:
    """Return signatures (N, HASHES) float32: two agree in a place with the Jaccard index of the sets as probability."""
    numbers = mix(np.arange(1, 2 * HASHES + 1, dtype=np.uint64) * GOLDEN)
    factor, offset = numbers[:HASHES] | np.uint64(1), numbers[HASHES:]
    size = max(1, AT_ONCE // max(1, features.codes.shape[1] * HASHES))
    parts = [np.empty((0, HASHES), np.float32)]
    for start in range(0, len(features.codes), size):
        codes, present = (part[start : start + size, :, None] for part in features)
        least = np.where(present, codes * factor + offset, NOTHING).min(1)
        parts.append(((least >> np.uint64(20)) & EXACT).astype(np.float32))
    return np.concatenate(parts)


def simhash(features: Features) -> np.ndarray:
    """Return 64 bits (N, 64) of each input: the signs of the sums of its features' bits."""
    signs = np.zeros((len(features.codes), 64), np.int64)
    for bit in range(64):
        ones = (features.codes >> np.uint64(bit)) & np.uint64(1)
        signs[:, bit] = np.where(features.present, 2 * ones.astype(np.int64) - 1, 0).sum(1)
    return signs > 0
