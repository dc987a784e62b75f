"""Length of bursts by the codes of a client's queries: known lengths, independent queries, and orders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feint.defenses.access.bursts import FEWEST, ORDERED, burst_length
from feint.signature import near

REMEMBERED = 150


def scenes(random: np.random.Generator, length: int, changed: float) -> np.ndarray:
    """Codes of bursts of this length: each bit of a frame differs from its scene's with this probability."""
    codes = random.integers(2, size=(REMEMBERED, 64)).repeat(length, 0)[:REMEMBERED] ^ (
        random.random((REMEMBERED, 64)) < changed
    )
    return (codes.astype(np.uint64) << np.arange(64, dtype=np.uint64)).sum(1, dtype=np.uint64)


@pytest.mark.parametrize("length", [2, 3, 5, 10])
def test_the_length_of_bursts_is_measured(length):
    measured = [burst_length(scenes(np.random.default_rng(seed), length, 0.1)) for seed in range(20)]
    assert None not in measured
    lengths = np.array(measured)
    assert 0.8 * length <= np.median(lengths) <= 1.1 * length
    assert length - 2 <= lengths.min() <= lengths.max() <= 1.5 * length


def test_independent_queries_have_no_bursts(digits):
    """Of 2,000 clients none: those whose codes are random, and those who draw images."""
    random, codes = np.random.default_rng(1), near(digits.train.inputs().numpy())
    for _ in range(1000):
        assert burst_length(random.integers(2**64, size=REMEMBERED, dtype=np.uint64)) == 1
        assert burst_length(random.choice(codes, REMEMBERED, replace=False)) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, FEWEST - 1))
def test_too_few_queries_tell_nothing(count):
    assert burst_length(np.arange(count, dtype=np.uint64)) is None


def test_a_long_order_is_no_burst():
    """A file in an order: a bit changes with every query, so that codes resemble each other at all distances."""
    random = np.random.default_rng(2)
    steps = np.uint64(1) << random.integers(64, size=REMEMBERED, dtype=np.uint64)
    assert burst_length(np.bitwise_xor.accumulate(steps)) == ORDERED
