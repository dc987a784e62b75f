"""Statistics of claims hold what they promise."""

import numpy as np
import pytest

from feint.defenses.access.binomial import at_most, upper_bound
from feint.ownership.statistics import holm, paired_log_e


def binomial_tail(k, n, p):
    """P(X ≥ k) for X binomial."""
    return 1 - at_most(k - 1, n, p)


def test_the_tail_of_the_binomial_is_exact():
    assert binomial_tail(0, 5, 0.3) == 1
    assert binomial_tail(5, 5, 0.5) == pytest.approx(0.5**5)
    assert binomial_tail(2, 3, 0.25) == pytest.approx(3 * 0.25**2 * 0.75 + 0.25**3)


@pytest.mark.parametrize(("n", "bound"), [(20, 0.1391), (40, 0.0722), (59, 0.0495), (299, 0.01)])
def test_no_false_claim_among_so_many_innocents_bounds_their_share(n, bound):
    assert upper_bound(0, n) == pytest.approx(bound, abs=1e-4)


def test_the_bound_is_that_of_clopper_and_pearson():
    for count, n in ((1, 10), (5, 59), (30, 60)):
        p = upper_bound(count, n)
        assert 1 - binomial_tail(count + 1, n, p) == pytest.approx(0.05, abs=1e-6)
    assert upper_bound(7, 7) == 1


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_an_innocent_is_claimed_seldom_whenever_one_stops_asking(rate):
    """Of 4,000 suspects that agree no more than the control, at most 1 in 100 ever reaches an e-value of 100."""
    random = np.random.default_rng(0)
    won = (random.random((4000, 150)) < rate).cumsum(1)
    asked = np.arange(1, 151)
    table = {(w, n): paired_log_e(w, n - w) for n in asked.tolist() for w in range(n + 1)}
    highest = np.array([max(table[w, n] for w, n in zip(row, asked.tolist(), strict=True)) for row in won.tolist()])
    assert (highest >= np.log(100)).mean() <= 0.01


def test_the_mean_of_the_e_value_is_one_where_wins_and_losses_are_alike():
    n = 12
    mean = sum(binomial_tail(k, n, 0.5) - binomial_tail(k + 1, n, 0.5) for k in range(n + 1))
    expected = sum(
        (binomial_tail(k, n, 0.5) - binomial_tail(k + 1, n, 0.5)) * np.exp(paired_log_e(k, n - k)) for k in range(n + 1)
    )
    assert mean == pytest.approx(1)
    assert expected == pytest.approx(1)


def test_a_suspect_that_alone_agrees_is_worth_more_with_every_question():
    values = [paired_log_e(n, 0) for n in range(0, 60, 5)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0)
    assert values[-1] > np.log(1e12)


def test_holm_rejects_in_the_order_of_the_p_values():
    assert holm([0.01, 0.04, 0.03], 0.05) == [True, False, False]
    assert holm([0.01, 0.02, 0.03], 0.05) == [True, True, True]
    assert holm([], 0.05) == []
