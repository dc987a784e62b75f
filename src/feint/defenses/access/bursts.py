"""Length of a client's bursts: how many queries in a row look more alike than queries far apart; without torch."""

import numpy as np

LONGEST = 30  # queries of a burst that is measured
ORDERED = LONGEST + 1  # of queries that resemble each other at every distance measured: a video, or a sorted file
FEWEST = 2 * LONGEST  # codes of a client
SURE = 4.0  # standard errors: of 10,000 clients whose queries are independent fewer than one has a burst


def burst_length(codes: np.ndarray) -> int | None:
    """Return how many queries in a row of a client depend on each other, by their perceptual codes.

    The frames of a moving scene have other codes, and nearer ones than frames of two scenes. Queries are compared with
    the first, second, … after them: a burst ends at the first distance at which codes differ as much as those of
    queries more than `LONGEST` apart. Codes that are hashes, as those of rows and texts, tell copies alone.

    Args:
        codes: Codes of the client's recent queries in order, (n,) uint64, near copies left out.

    Returns:
        The length, 1 where no query resembles the next. For long bursts, of which there are few, it may be too large by
        a half. `ORDERED` for queries that resemble each other at every distance up to `LONGEST`, which are in an order
        and not in bursts. None where it is not known: of fewer than `FEWEST` codes.
    """
    if len(codes) < FEWEST:
        return None
    bits = np.bitwise_count(codes[:, None] ^ codes).astype(float)
    far = bits[np.triu_indices(len(codes), LONGEST + 1)]
    for distance in range(1, LONGEST + 1):
        pairs = bits.diagonal(distance)
        if pairs.mean() > far.mean() - SURE * far.std() / len(pairs) ** 0.5:
            return distance
    return ORDERED
