"""Intervals of shares that were measured with several seeds on one test set."""

import functools
from collections.abc import Sequence

import numpy as np

DRAWS = 5000  # of a bootstrap: its ends are then 0.02 points off, and 0.1 is printed


def interval(shares: Sequence[float], n: int, *, level: float = 0.95, draws: int = DRAWS) -> tuple[float, float]:
    """Compute a bootstrap interval for the mean of shares.

    The bootstrap has two levels. Seeds are drawn again with replacement, then the share of the test set is drawn around
    their mean (Beta with Jeffreys' prior, so that 0 % and 100 % have an interval too). Seeds share their test set, so
    its error does not shrink with more of them. With three seeds or fewer the interval is a rough guide.

    Args:
        shares: One share in [0, 1] for each seed.
        n: Number of test inputs that every share was counted on.
        level: Coverage of the interval.
        draws: Number of bootstrap draws.

    Returns:
        The lower and the upper end, in [0, 1].
    """
    return _interval(tuple(shares), n, level, draws)


@functools.lru_cache(4096)  # a millisecond each, and every table and figure of a report needs the same ones
def _interval(shares: tuple[float, ...], n: int, level: float, draws: int) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    means = generator.choice(np.asarray(shares), (draws, len(shares))).mean(-1)
    drawn = generator.beta(n * means + 0.5, n * (1 - means) + 0.5)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
