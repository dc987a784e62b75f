"""Sequential test: its error rates by simulation, and the account's sums against the whole stream."""

import math
from dataclasses import replace

import pytest
import torch

from feint.defenses.access import SequentialTest
from feint.defenses.access.sequential_test import DRAWS, _log_wins, falling, prices
from feint.defenses.scores import MaxProbability
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.ledger import Ledger
from feint.query import Query
from feint.recipes.store import Weights

GENERATOR = torch.Generator()


@pytest.fixture(autouse=True)
def _seed():
    GENERATOR.manual_seed(0)


class First:
    """A score: the first logit."""

    of_probabilities = False

    def __call__(self, x, z):
        return z[:, 0].contiguous()


def calibrated(n: int = 300, outliers: float | None = None, **fields) -> SequentialTest:
    """A test whose benign scores are normal, and whose outliers are `outliers` deviations below them."""
    scores = {"inputs": torch.randn(n, generator=GENERATOR).sort().values, "classes": torch.tensor(2)}
    if outliers is not None:
        scores["outliers"] = (torch.randn(n, generator=GENERATOR) - outliers).sort().values
    return SequentialTest(score=First(), benign=Weights.of(scores), **fields)


def stream(scores: torch.Tensor) -> tuple[Query, torch.Tensor]:
    """Queries that all differ, and logits with these scores."""
    return Query(torch.rand(len(scores), 9), "c", time=0.0), torch.stack([scores, torch.zeros_like(scores)], -1)


@pytest.mark.slow
@pytest.mark.parametrize("outliers", [None, 1.0])
def test_honest_clients_are_accused_at_most_as_often_as_promised(outliers):
    accused = []
    for _ in range(6):  # calibration sets: the promise is for the one that an owner has, not on average
        test = calibrated(300, outliers, alpha=0.05)
        accused.append((test.replay(torch.randn(300, 500, generator=GENERATOR)) >= 1).any(1).double().mean().item())
    assert max(accused) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
def test_without_a_price_for_the_calibration_set_they_are_accused_more_often(monkeypatch):
    from feint.defenses.access import sequential_test

    monkeypatch.setattr(sequential_test, "prices", lambda paid, *_: paid.mean(0))  # right on average over sets
    accused = []
    for _ in range(4):
        _log_wins.cache_clear()
        test = calibrated(40, alpha=0.05)
        accused.append((test.replay(torch.randn(200, 1000, generator=GENERATOR)) >= 1).any(1).double().mean().item())
    _log_wins.cache_clear()
    assert max(accused) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("outliers", [None, 1.0])
def test_out_of_place_queries_are_accused_soon_and_those_who_mix_them_in_later(outliers):
    test = calibrated(400, outliers)
    delays = []
    for share in (1.0, 0.3):
        odd = torch.rand(50, 2000, generator=GENERATOR) < share
        scores = torch.randn(50, 2000, generator=GENERATOR) - 2 * odd
        over = test.replay(scores) >= 1
        assert over.any(1).all()
        delays.append(over.double().argmax(1).median().item())
    assert delays[0] < 20 < delays[1] < 200


@pytest.mark.parametrize("sizes", [[1] * 700, [700], [3, 200, 497]])
def test_the_accounts_sums_equal_the_evidence_of_the_stream_however_it_is_divided(sizes):
    test, scores = calibrated(outliers=1.0, block=250), torch.randn(700, generator=GENERATOR) - 0.8
    query, z = stream(scores)
    account, start, last = Ledger()["c"], 0, 0.0
    for size in sizes:
        part = Query(query.x[start : start + size], "c", time=0.0)
        last = test.observe(part, z[start : start + size], account)
        start += size
    assert last == pytest.approx(max(0.0, test.replay(scores[None]).max().item()), abs=1e-6)


def test_a_replay_is_the_definition_written_out():
    test, scores = calibrated(block=3), torch.randn(8, generator=GENERATOR)
    wins, weights = test.wins(scores)
    for t in range(8):
        terms = [
            weights[b].item() / ((j + 1) * (j + 2)) * math.exp(wins[3 * j : t + 1, b].sum().item())
            for j in range(t // 3 + 1)
            for b in range(len(weights))
        ]
        assert test.replay(scores[None])[0, t].item() == pytest.approx(math.log(sum(terms)) / -math.log(test.alpha))


@pytest.mark.slow
def test_blocks_keep_the_power_against_a_client_that_turns_bad_late():
    scores = torch.cat([torch.randn(3000, generator=GENERATOR), torch.randn(40, generator=GENERATOR) - 2])
    query, z = stream(scores)
    test, late = calibrated(400), {}
    for block in (100, 10_000):
        late[block] = replace(test, block=block).observe(query, z, Ledger()["c"])
    assert late[100] > 1 > late[10_000]


def test_a_repeat_counts_once_an_hour():
    test, account = calibrated(), Ledger()["c"]
    x, z = torch.rand(1, 9), torch.tensor([[-2.5, 0.0]])
    first = test.observe(Query(x, "c", time=0.0), z, account)
    assert first > 0
    assert test.observe(Query(x.repeat(50, 1), "c", time=10.0), z.repeat(50, 1), account) == first
    assert test.observe(Query(x, "c", time=4000.0), z, account) > first


def test_two_replicas_with_one_ledger_see_all_that_one_would():
    test, scores = calibrated(), torch.randn(60, generator=GENERATOR) - 0.5
    query, z = stream(scores)
    together, alone = Ledger(), Ledger()
    for i in range(60):  # the two take turns and share the account
        one = Query(query.x[i : i + 1], "c", time=0.0)
        shared = test.observe(one, z[i : i + 1], together["c"])
    assert shared == pytest.approx(test.observe(query, z, alone["c"]), abs=1e-6)


@pytest.mark.slow
def test_a_tolerance_covers_drift_and_costs_power():
    drifted = torch.randn(100, 1000, generator=GENERATOR) - 0.5  # in the lower 0.1 % nearly five times as often
    test = calibrated(1000)
    shares = [(replace(test, tolerance=t).replay(drifted) >= 1).any(1).double().mean().item() for t in (1.0, 8.0)]
    assert shares[0] > 0.5
    assert shares[1] <= 0.01


def test_prices_are_upper_quantiles_of_what_bets_pay():
    n = 100
    p = torch.arange(1, n + 2, dtype=torch.float64) / (n + 1)
    paid = torch.stack([0.5 * p**-0.5, 2 * (p < 0.5).double(), torch.ones_like(p)], -1)
    gaps = torch.distributions.Dirichlet(torch.ones(n + 1, dtype=torch.float64)).sample((DRAWS,))
    above = (gaps @ paid > prices(paid, 0.05) + 1e-9).any(-1).double().mean()
    assert 0.02 < above < 0.05
    assert (prices(paid, 0.05, 1.5) > prices(paid, 0.05) - 1e-9).all()


def test_a_learned_bet_falls_and_integrates_to_one():
    p = torch.arange(1, 2002, dtype=torch.float64) / 2001
    density = falling(p, (torch.rand(500, generator=GENERATOR).double().square() * 2000).long())
    assert (density.diff() <= 1e-12).all()
    assert density.mean() <= 1.02
    assert density[0] > 3 > 1 > density[-1]


def test_without_calibration_there_is_no_evidence():
    query, z = stream(torch.zeros(3))
    with pytest.raises(NotFitted, match="feint fit"):
        SequentialTest().observe(query, z, Ledger()["c"])
    with pytest.raises(BadRecipe, match="tolerance"):
        SequentialTest(tolerance=0.5)


def test_fitting_stores_scores_of_benign_inputs(victim, digits):
    test = SequentialTest(score=MaxProbability()).fit(victim, digits.test, outliers=digits.train)
    assert len(test.benign.tensors["inputs"]) == len(digits.test)
    with pytest.raises(BadInput, match="100 or more"):
        SequentialTest().fit(victim, digits.test.share(0, 50))
