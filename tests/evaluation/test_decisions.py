"""Metrics of scores against scikit-learn, and against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from feint.errors import BadInput
from feint.evaluation import metrics
from feint.evaluation.decisions import (
    auc,
    balanced_accuracy,
    check_threshold,
    cut,
    prevalence,
    rate_agreement,
    score_rmse,
    threshold_agreement,
)

judges = pytest.importorskip("sklearn.metrics")


def answers(n: int, classes: int, *, levels: int | None = None, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Answers (n, K), with ties where they have few levels, and classes (n,) that they say something about."""
    random = np.random.default_rng(seed)
    y = random.choice(classes, n, p=np.linspace(1, 3, classes) / np.linspace(1, 3, classes).sum())
    z = random.normal(size=(n, classes)) + 1.5 * np.eye(classes)[y]
    if levels is not None:
        z = np.rint(z * levels) / levels
    return torch.from_numpy(z).softmax(-1), torch.from_numpy(y)


@pytest.mark.parametrize("levels", [None, 1, 2], ids=["distinct", "many ties", "some ties"])
def test_auc_of_two_classes_is_that_of_scikit_learn(levels):
    p, y = answers(500, 2, levels=levels)
    if levels is not None:
        assert len(p[:, 1].unique()) < 100
    assert auc(p, y) == pytest.approx(judges.roc_auc_score(y, p[:, 1]), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 1])
def test_auc_of_more_classes_is_the_mean_over_one_vs_rest(levels):
    p, y = answers(500, 4, levels=levels)
    expected = judges.roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert auc(p, y) == pytest.approx(expected, abs=1e-12)


def test_equal_scores_rank_nothing():
    y = torch.tensor([0, 1, 1, 0, 1])
    assert auc(torch.full((5, 2), 0.5), y) == 0.5
    assert auc(torch.eye(2)[y], y) == 1
    assert auc(torch.eye(2)[1 - y], y) == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_balanced_accuracy_is_that_of_scikit_learn(classes):
    p, y = answers(300, classes)
    assert balanced_accuracy(p, y) == pytest.approx(judges.balanced_accuracy_score(y, p.argmax(-1)), abs=1e-12)
    always = torch.eye(classes)[0].expand(300, -1)
    assert balanced_accuracy(always, y) == pytest.approx(1 / classes)
    assert prevalence(y) == pytest.approx(max(np.bincount(y)) / 300)


def test_what_a_test_set_of_one_class_cannot_tell_is_missing_and_not_zero():
    p, y = answers(50, 2)[0], torch.ones(50, dtype=torch.int64)
    assert math.isnan(auc(p, y))
    assert math.isnan(rate_agreement(p, p, y))
    scores = metrics.theft(metrics.StolenAnswers(p, p, y))
    assert "stealer_auc" not in scores
    assert "rate_agreement" not in scores
    assert "threshold_agreement" not in scores  # nobody gave a threshold
    assert scores["fidelity"] == 1


def test_classes_that_the_test_set_lacks_do_not_count():
    p, y = answers(300, 4)
    fewer = y != 3
    expected = np.mean([judges.roc_auc_score(y[fewer] == c, p[fewer, c]) for c in range(3)])
    assert auc(p[fewer], y[fewer]) == pytest.approx(expected, abs=1e-12)
    assert balanced_accuracy(p[fewer], y[fewer]) == pytest.approx(
        judges.recall_score(y[fewer], p[fewer].argmax(-1), labels=[0, 1, 2], average="macro"), abs=1e-12
    )


def test_agreement_at_the_owners_threshold_by_hand():
    p = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    q = torch.tensor([[0.9, 0.1], [0.71, 0.29], [0.2, 0.8], [0.1, 0.9]])
    assert threshold_agreement(q, p, 0.3) == 0.75  # 0.3 itself counts as positive
    assert threshold_agreement(q, p, 0.5) == 0.75
    assert threshold_agreement(q, p, 0.85) == 0.75
    assert threshold_agreement(q, p, 0.95) == 1
    assert math.isnan(threshold_agreement(q, p, None))
    three = torch.tensor([[0.6, 0.3, 0.1]]), torch.tensor([[0.3, 0.6, 0.1]])
    assert threshold_agreement(*three, 0.5) == pytest.approx(1 / 3)
    assert score_rmse(*three) == pytest.approx(math.sqrt(0.18 / 3))


def test_agreement_at_a_rate_lets_each_model_have_its_own_threshold():
    y = torch.arange(1000) >= 900
    rank = torch.arange(1000) / 1000
    p, squeezed, mirrored = (torch.stack([1 - s, s], -1) for s in (rank, rank / 10, 1 - rank))
    assert rate_agreement(squeezed, p, y.long()) == 1
    # 9 of 900 negatives pass; the mirrored model flags the 9 lowest, and none of the 109 highest
    assert rate_agreement(mirrored, p, y.long()) == pytest.approx(1 - (9 + 109) / 1000)


@pytest.mark.parametrize(("n", "allowed"), [(100, 1), (199, 1), (200, 2), (99, 0), (1, 0)])
def test_no_more_negatives_pass_than_the_rate_allows(n, allowed):
    scores = torch.arange(n) / n
    assert (scores > cut(scores)).sum() == allowed
    assert (torch.ones(n) > cut(torch.ones(n))).sum() == 0  # ties pass together or not at all


@pytest.mark.parametrize("threshold", [0, 1, -0.5, math.nan, 30])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(BadInput, match="threshold"):
        check_threshold(threshold)
