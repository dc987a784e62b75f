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
    known, count, new = np.concatenate([recent, codes]), len(recent), np.empty(len(codes), bool)
    for i, code in enumerate(codes):
        differing = np.bitwise_count(known[max(0, count - REMEMBERED) : count] ^ code)
        new[i] = not (differing <= NEAR_DISTANCE).any()
        if new[i]:
            known[count] = code
            count += 1
    return new, known[max(0, count - REMEMBERED) : count]
