"""Detectors whose evidence is an e-process: honest clients by simulation, their mean, their windows, their files."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from feint.data import Split
from feint.defense import Ladder
from feint.defenses.access import (
    ADD,
    PRADA,
    SEAT,
    Combined,
    MeanDiscrepancy,
    SequentialTest,
    TwoSample,
    client_state,
)
from feint.defenses.access.client_state import recent_codes
from feint.defenses.access.dilution import unaccused_share
from feint.defenses.access.martingale import wealth
from feint.defenses.access.mixture import process_of
from feint.defenses.access.near_copies import REMEMBERED
from feint.defenses.access.windows import frechet
from feint.defenses.feature_scores import LearnedScore, Mahalanobis
from feint.defenses.scores import Energy, scores
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.ledger import Account
from feint.progress import NO_PROGRESS
from feint.query import Query
from feint.service import Defense, Service
from feint.signature import Column, Columns
from feint.victims import logits

DOMAIN = Columns(tuple(Column(f"n{i}") for i in range(6)))
ALPHA = 0.05
DETECTORS = {
    "Mahalanobis": SequentialTest(Mahalanobis(), alpha=ALPHA),
    "LearnedScore": SequentialTest(LearnedScore(hidden=8), alpha=ALPHA),
    "ADD": ADD(window=8, dimensions=2, alpha=ALPHA),
    "MeanDiscrepancy": MeanDiscrepancy(window=50, alpha=ALPHA),
    "mean surprise": MeanDiscrepancy(window=50, alpha=ALPHA, score=Energy()),
    "Combined": Combined(
        [SequentialTest(Energy()), SequentialTest(Mahalanobis()), ADD(8, dimensions=2), MeanDiscrepancy(50)],
        alpha=ALPHA,
    ),
}


@functools.cache
def victim() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).double().eval()


def inputs(n: int, seed: int, shift: float = 0.0) -> Split:
    x = np.random.default_rng(seed).normal(size=(n, 6)) * (1 - shift)
    return Split.of(x, np.zeros(n, np.int64), domain=DOMAIN)


@functools.cache
def fitted(name: str, seed: int = 1):
    return DETECTORS[name].fit(victim(), inputs(1500, seed), outliers=inputs(600, 99, 0.9))


def statistics(detector, split: Split) -> np.ndarray:
    return scores(detector.ranked_score, victim(), split, NO_PROGRESS).numpy()


def evidence(detector, streams: np.ndarray) -> list[float]:
    process = detector.martingale()
    most = [process.advance(rows, np.zeros(process.size))[0].max() for rows in streams]
    return [value / -math.log(process.alpha) for value in most]


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_honest_clients_are_accused_at_most_as_often_as_promised(name):
    generator = np.random.default_rng(0)
    for seed in (1, 2, 3):  # calibration sets: the promise is for the one that an owner has
        ordinary = statistics(fitted(name, seed), inputs(20_000, 50))
        streams = (ordinary[generator.integers(len(ordinary), size=400)] for _ in range(300))
        accused = np.mean([value >= 1 for value in evidence(fitted(name, seed), streams)])
        assert accused <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 300)


def accused_of_long_windows(seeds: range) -> list[float]:
    """Share of honest clients who are accused, for calibration sets of hardly two windows."""
    generator, shares = np.random.default_rng(0), []
    for seed in seeds:
        detector = MeanDiscrepancy(window=100, alpha=ALPHA).fit(victim(), inputs(200, seed))
        ordinary = statistics(detector, inputs(5000, 50))
        streams = (ordinary[generator.integers(len(ordinary), size=2000)] for _ in range(100))
        shares.append(np.mean([value >= 1 for value in evidence(detector, streams)]).item())
    return shares


@pytest.mark.slow
def test_without_a_price_for_the_calibration_set_long_windows_accuse_more_often(monkeypatch):
    from feint.defenses.access import mean_discrepancy

    assert max(accused_of_long_windows(range(4))) <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 100)
    monkeypatch.setattr(mean_discrepancy, "joint_quantile", lambda drawn, delta: torch.ones_like(drawn[0]))
    assert max(accused_of_long_windows(range(4))) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_clients_who_send_other_inputs_are_accused(name):
    odd = statistics(fitted(name), inputs(600, 7, 0.9))
    assert evidence(fitted(name), [odd])[0] >= 1


def test_a_combination_is_the_weighted_mean_of_its_members():
    members = fitted("Combined").detectors
    combined = replace(fitted("Combined"), weights=[1, 2, 3, 4])
    rows = statistics(combined, inputs(200, 5))
    process = combined.martingale()
    values, _ = process.advance(rows, np.zeros(process.size))
    expected, start = np.zeros(200), 0
    for weight, member in zip((0.1, 0.2, 0.3, 0.4), members, strict=True):
        part = rows[:, start : start + member.columns]
        start += member.columns
        single = member.martingale()
        expected += weight * np.exp(
            single.advance(part[:, 0] if part.shape[1] == 1 else part, np.zeros(single.size))[0]
        )
    np.testing.assert_allclose(values, np.log(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("detector", [PRADA(), SEAT(), TwoSample()])
def test_a_detector_without_an_error_rate_is_refused_in_a_combination(detector):
    with pytest.raises(BadRecipe, match="e-process"):
        Combined([SequentialTest(), detector])


def test_two_e_processes_side_by_side_are_refused_by_a_ladder():
    with pytest.raises(BadRecipe, match="Combined"):
        Ladder([SequentialTest(), ADD()], [Defense(), Defense()])


@pytest.mark.parametrize(
    "fields",
    [
        {"detectors": []}, {"weights": [1.0]}, {"weights": [1.0, 0.0]}, {"weights": [np.nan, 1.0]},
        {"weights": [np.inf, 1.0]}, {"alpha": 1.0},
    ],
)  # fmt: skip
def test_a_combination_of_nothing_or_with_weights_that_do_not_fit_is_refused(fields):
    with pytest.raises(BadRecipe):
        Combined(**({"detectors": [SequentialTest(), ADD()]} | fields))


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("sizes", [[1] * 120, [120], [3, 90, 27]])
def test_the_state_holds_all_that_the_next_queries_need(name, sizes):
    rows, process = statistics(fitted(name), inputs(120, 5)), fitted(name).martingale()
    whole, _ = process.advance(rows, np.zeros(process.size))
    state, parts = np.zeros(process.size), []
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        values, state = process.advance(part, state)
        parts.append(values)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_process_is_made_again_from_its_arrays(name):
    process, rows = fitted(name).martingale(), statistics(fitted(name), inputs(60, 5))
    again = process_of(process.arrays())
    expected, _ = process.advance(rows, np.zeros(process.size))
    np.testing.assert_array_equal(again.advance(rows, np.zeros(again.size))[0], expected)
    assert again.alpha == process.alpha


@pytest.mark.parametrize("name", DETECTORS)
def test_the_state_of_a_client_is_at_most_two_kilobytes_with_the_memory_of_near_copies(name):
    account = Account("a")
    x = inputs(REMEMBERED + 50, 5).inputs()
    service = Service(victim(), Ladder([fitted(name)], [Defense(), Defense()]))
    service.line.rung(Query(x), service.model, account)
    arrays = [rows.array for rows in account._rows.values()]
    assert len(recent_codes(account.rows(client_state.NAME).array.ravel())) == REMEMBERED
    assert 8 * len(account._totals) + sum(array.nbytes for array in arrays) <= 2048


def test_a_window_is_as_far_as_the_definition_says():
    generator = np.random.default_rng(0)
    rows, predicted = generator.normal(size=(7, 3)), np.array([0, 0, 0, 0, 1, 1, 2])
    covariances = [np.cov(generator.normal(size=(20, 3)).T) for _ in range(3)]
    values = [np.linalg.eigh(covariance) for covariance in covariances]
    roots = np.stack([vectors * np.sqrt(value) @ vectors.T for value, vectors in values])
    means, total = generator.normal(size=(3, 3)), 0.0
    for label in range(3):
        part = rows[predicted == label]
        spread = np.cov(part.T, bias=True) if len(part) > 1 else np.zeros((3, 3))
        product = np.linalg.eigvals(covariances[label] @ spread).real.clip(0)
        between = np.square(means[label] - part.mean(0)).sum()
        total += len(part) * (between + np.trace(covariances[label] + spread) - 2 * np.sqrt(product).sum())
    assert frechet(rows, predicted, means, roots) == pytest.approx(total / 7, rel=1e-6)


def test_a_window_that_is_not_full_is_not_bet_on():
    process = fitted("MeanDiscrepancy").martingale()
    odd = statistics(fitted("MeanDiscrepancy"), inputs(120, 7, 0.9))
    values, state = process.advance(odd, np.zeros(process.size))
    assert (values[:49] == 0).all()
    assert values[49] > 0
    assert values[50] == values[49]
    assert state[0] == 20


@pytest.mark.parametrize("name", ["ADD", "MeanDiscrepancy"])
def test_a_full_window_is_forgotten(name):
    process, rows = fitted(name).martingale(), statistics(fitted(name), inputs(200, 5))
    _, state = process.advance(rows[: 3 * process.window], np.zeros(process.size))
    assert (state[-process.memory :] == 0).all()
    assert (process.advance(rows[-1:], state)[1][-process.memory :] != 0).any()


def test_a_mean_surprise_is_that_of_the_p_values_within_the_predicted_class():
    detector, split = fitted("mean surprise"), inputs(300, 5)
    z = torch.cat([logits(victim(), split.inputs())])
    calibration = logits(victim(), inputs(1500, 1).inputs())
    label, energy = z.argmax(-1), calibration.logsumexp(-1)
    for i in range(0, 300, 30):
        same = energy[calibration.argmax(-1) == label[i]]
        p = (1 + (same <= z[i].logsumexp(-1)).sum().item()) / (1 + len(same))
        assert statistics(detector, split)[i, 0] == pytest.approx(-math.log(p))


def test_a_score_that_is_no_number_is_the_most_surprising():
    detector = fitted("mean surprise")
    z = torch.full((1, 3), math.nan)
    assert detector.ranked_score(z, z).item() == pytest.approx(
        math.log(1 + detector.learned["class_counts"].max().item())
    )


def test_a_score_that_is_trained_has_no_mean_surprise():
    with pytest.raises(BadRecipe, match="need not be trained"):
        MeanDiscrepancy(score=Mahalanobis())


def test_without_features_a_score_of_logits_is_the_remedy():
    class Plain(nn.Module):
        def forward(self, x):
            return x[:, :3].float() * 4

    with pytest.raises(BadInput, match="logits"):
        SequentialTest(Mahalanobis()).fit(Plain(), inputs(300, 1))
    split = inputs(300, 1)
    assert SequentialTest(Mahalanobis(on="logits")).fit(Plain(), split).classes == 3


def test_a_score_of_features_answers_on_a_line_alone():
    detector, x = fitted("Mahalanobis"), inputs(3, 5).inputs()
    with pytest.raises(NotFitted, match="Service"):
        detector.observe(Query(x), logits(victim(), x), Account("a"))


def test_a_learned_score_needs_outliers():
    with pytest.raises(BadInput, match="outliers"):
        SequentialTest(LearnedScore()).fit(victim(), inputs(600, 1))


def test_queries_that_trained_a_score_do_not_calibrate_its_test():
    assert len(fitted("LearnedScore").learned["inputs"]) == 1000
    assert len(fitted("LearnedScore").learned["outliers"]) == 300


def test_a_share_that_is_not_accused_is_smaller_where_attack_queries_are_further_out():
    test = fitted("Mahalanobis")
    near, far = (torch.from_numpy(statistics(test, inputs(500, 7, shift))) for shift in (0.5, 0.9))
    honest = torch.from_numpy(statistics(test, inputs(5000, 8)))
    assert unaccused_share(test, far) <= unaccused_share(test, near)
    assert unaccused_share(test, far, honest) <= unaccused_share(test, far)
    assert unaccused_share(test, honest) > 0.95


def test_no_evidence_grows_at_a_share_that_is_not_accused():
    test = fitted("Mahalanobis")
    odd, top = torch.from_numpy(statistics(test, inputs(500, 7, 0.9))), test.learned["inputs"][-1:]
    share = unaccused_share(test, odd, top)
    growth = [(s * test.wins(odd)[0].mean(0) + (1 - s) * test.wins(top)[0][0]).max() for s in (share, share + 0.01)]
    assert growth[0] <= 0 < growth[1]


@pytest.mark.parametrize("queries", [0, 7])
@pytest.mark.parametrize("spread", [0.1, 40.0], ids=["ordinary", "extreme"])
@pytest.mark.parametrize("count", [1, 2, 300])
def test_wealth_is_that_of_its_recursion(count, spread, queries):
    """V_t = (V_(t−1) + w_t) · b_t, in logarithms, also where wins of 10^±1000 follow each other."""
    wins = spread * np.random.default_rng(0).normal(size=(2, count, 3))
    value = np.array([-np.inf, 0.0, 900.0]) if queries else np.full(3, -np.inf)
    expected, before = [], value
    for t, win in enumerate(np.moveaxis(wins, 1, 0), start=queries):
        value = np.logaddexp(value, -math.log((t + 1) * (t + 2))) + win
        expected.append(value)
    np.testing.assert_allclose(wealth(wins, before, queries), np.stack(expected, 1), rtol=1e-9, atol=1e-9)
