"""Replayed accusations: when they come, and what accounts get before."""

import math

import numpy as np
import pytest
import torch

from feint.defenses.access import SequentialTest
from feint.evaluation.detection import Accusations, _accused_at, accusations, first_accusation
from feint.recipes.store import Weights


@pytest.fixture(scope="module")
def test():
    scores = torch.arange(500.0)
    return SequentialTest(benign=Weights.of({"inputs": scores, "classes": torch.tensor(10)}))


@pytest.mark.parametrize("center", [0, 20, 40, 60])
def test_clients_are_accused_at_the_query_at_which_the_test_would(test, center):
    scores = np.random.default_rng(0).normal(center, 60, 300).astype(np.float32)
    evidence = test.replay(torch.from_numpy(scores)[None])[0].numpy()
    process = test.process
    assert process.advance(scores, np.zeros(process.size))[0] / -math.log(process.alpha) == pytest.approx(evidence)
    assert _accused_at(process, scores) == first_accusation(evidence)


def test_first_accusation_counts_from_one():
    assert first_accusation(np.array([0.2, 1.0, 3.0])) == 2
    assert first_accusation(np.array([0.2, 0.9])) == math.inf


def test_honest_clients_are_hardly_accused_and_others_are(test):
    ordinary, odd = np.arange(500.0, dtype=np.float32), np.full(10, -5.0, np.float32)
    assert accusations(test, odd, ordinary, 0.0, clients=50, length=300).accused == 0
    assert accusations(test, odd, ordinary, 1.0, clients=50, length=300).rate == 1.0
    half = accusations(test, odd, ordinary, 0.5, clients=50, length=300).median
    whole = accusations(test, odd, ordinary, 1.0, clients=50, length=300).median
    assert half is not None
    assert whole is not None
    assert whole < half


def test_answers_are_those_before_the_accusation():
    outcome = Accusations(np.array([11.0, 21.0]), length=100)
    assert outcome.bought(1, 1000) == 15
    assert outcome.bought(100, 1000) == 1000
    assert outcome.bought(10, 10_000) == 150


def test_answers_of_accounts_that_were_not_accused_have_no_end():
    outcome = Accusations(np.array([11.0, math.inf]), length=100)
    assert outcome.bought(1, 1000) is None
    assert outcome.bought(100, 1000) == 1000
    assert outcome.median == 11
    assert Accusations(np.array([math.inf, math.inf]), length=100).median is None


def test_an_attacker_who_wants_half_of_the_queries_gets_half_of_them():
    assert Accusations(np.array([21.0]), length=100, share=0.5).bought(1, 1000) == 10


def test_a_rate_of_nought_has_a_bound_above_it():
    assert Accusations(np.full(100, math.inf), length=10).bound == pytest.approx(1 - 0.05**0.01)
