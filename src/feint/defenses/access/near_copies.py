"""Recognition of near copies among a client's recent inputs, without torch."""

from collections.abc import Sequence

import numpy as np

from feint.signature.domain import NEAR_DISTANCE

REMEMBERED = 150  # codes of a client's recent inputs, 8 bytes each
NO_CODES = np.empty(0, np.uint64)


def first_of_their_kind(codes: np.ndarray, recent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which inputs are no near copies of the client's recent ones.

    Args:
        codes: Perceptual codes of a query's inputs, (N,) uint64.
        recent: Codes of the inputs before that were none, (n,) uint64, at most `REMEMBERED`.

    Returns:
        A mask, (N,) bool, and the codes to remember.
    """
    new = np.empty(len(codes), bool)
    for i in range(len(codes)):
        code = codes[i : i + 1]
        new[i] = np.minimum.reduce(np.bitwise_count(recent ^ code), initial=64) > NEAR_DISTANCE
        if new[i]:
            recent = np.concatenate([recent, code])[-REMEMBERED:]
    return new, recent


def new_to_each(codes: np.ndarray, recent: Sequence[np.ndarray]) -> np.ndarray:
    """Return which inputs of several clients, one of each, are no near copies of the same client's recent ones.

    Args:
        codes: Perceptual code of each client's input, (n,) uint64.
        recent: Codes of the recent inputs of each, as in `first_of_their_kind`.

    Returns:
        A mask, (n,) bool.
    """
    owners = np.repeat(np.arange(len(codes)), [len(known) for known in recent])
    near = np.bitwise_count(np.concatenate(recent) ^ codes[owners]) <= NEAR_DISTANCE
    new = np.ones(len(codes), bool)
    new[owners[near]] = False
    return new
