"""Intervals against the exact distribution, and with the number of seeds."""

import numpy as np
import pytest

from feint.evaluation.intervals import interval


def test_the_interval_of_one_seed_is_that_of_a_share():
    scipy = pytest.importorskip("scipy.stats")
    for hits, n in ((180, 200), (0, 50), (50, 50), (7, 1000)):
        low, high = interval([hits / n], n)
        exact = scipy.beta(hits + 0.5, n - hits + 0.5)
        assert (low, high) == pytest.approx((exact.ppf(0.025), exact.ppf(0.975)), abs=0.004)


def test_more_seeds_narrow_their_own_spread_but_not_the_test_sets():
    alike = [interval([0.7] * seeds, 1000) for seeds in (1, 9)]
    assert alike[0] == pytest.approx(alike[1], abs=0.003)
    generator = np.random.default_rng(0)
    shares = generator.normal(0.7, 0.05, 30).clip(0, 1)
    few, many = (np.ptp(interval(shares[:n], 10_000)) for n in (5, 30))
    assert many < few
