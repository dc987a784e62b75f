"""Recognition of near copies among a client's recent inputs, without torch."""

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
