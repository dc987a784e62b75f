"""Thresholds of evidence that are calibrated on clients."""

import math

import numpy as np
import pytest

from feint.defenses.access.binomial import upper_bound
from feint.defenses.access.clients import LEAST, probation_level, threshold
from feint.errors import BadInput


@pytest.mark.parametrize(("n", "share"), [(99, 0.01), (250, 0.01), (19, 0.05), (1000, 0.013)])
def test_a_further_client_reaches_the_threshold_with_at_most_the_share(n, share):
    rng = np.random.default_rng(0)
    average = threshold(rng.random(n).tolist(), share).average
    levels = np.array([threshold(rng.random(n).tolist(), share).level for _ in range(2000)])
    reached = 1 - levels  # of a uniform client, given the set
    assert average <= share
    assert reached.mean() == pytest.approx(average, rel=0.15)


def test_the_bound_given_the_clients_holds_for_nineteen_sets_of_twenty():
    rng = np.random.default_rng(1)
    calibrated = [threshold(rng.random(300).tolist(), 0.02) for _ in range(500)]
    share = np.mean([1 - one.level <= one.bound for one in calibrated])
    assert share == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize(
    ("reached", "clients", "bound"), [(0, 299, 1 - 0.05 ** (1 / 299)), (3, 100, 0.0757), (5, 5, 1)]
)
def test_the_bound_is_that_of_clopper_and_pearson(reached, clients, bound):
    assert upper_bound(reached, clients) == pytest.approx(bound, abs=1e-4)


def test_none_of_the_clients_who_are_equal_reach_the_threshold():
    assert threshold([0.7] * 500).level > 0.7
    assert LEAST < threshold([0.0] * 500).level < 2 * LEAST
    assert math.isclose(threshold([-1.0] * 500).level, LEAST)


@pytest.mark.parametrize(("n", "share", "says"), [(98, 0.01, "98 clients.*99 or more"), (500, 1e-3, "999 or more")])
def test_too_few_clients_promise_nothing(n, share, says):
    with pytest.raises(BadInput, match=says):
        threshold([0.1] * n, share)


def test_a_share_is_a_number_between_0_and_1():
    with pytest.raises(BadInput, match="a share of 1"):
        threshold([0.1] * 500, 1.0)


def newcomers(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """P-values of ten queries each of newcomers, every third of whom has all of them ten times too low."""
    return [rng.random(10) / (10 if rng.random() < 1 / 3 else 1) for _ in range(n)]


@pytest.mark.parametrize(("n", "share"), [(99, 0.05), (400, 0.01)])
def test_at_most_the_share_of_a_further_newcomers_answers_changes(n, share):
    rng = np.random.default_rng(0)
    levels = np.array([probation_level(newcomers(rng, n), share).level for _ in range(300)])
    changed = levels * (2 / 3 + 10 / 3)  # of such a newcomer, given the level
    assert share * (1 - 2 / (share * n)) < changed.mean() <= share


def test_the_level_of_probation_is_the_largest_with_the_share():
    p_values = [np.array([0.02 * i, 0.5, 0.6]) for i in range(1, 100)]
    calibrated = probation_level(p_values, 0.05)
    # (l / 3 + 1) / 100 ≤ .05 for l = 12 answers, those below .26
    assert calibrated.level == pytest.approx(0.26)
    assert calibrated.average == pytest.approx(0.05)


def test_newcomers_with_equal_p_values_are_all_below_the_level_or_none():
    assert probation_level([np.full(3, 0.2)] * 200, 0.1).level == 0.2


def test_too_few_newcomers_promise_no_share_of_answers():
    with pytest.raises(BadInput, match=r"98 clients.*99 or more"):
        probation_level([np.ones(2)] * 98, 0.01)
