"""Metrics against numbers worked out by hand."""

import math

import pytest
import torch

from feint.defenses.access import Budget
from feint.defenses.outputs import APGPClosedForm
from feint.evaluation import memory, metrics
from feint.service import Defense, Service

P = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
Q = torch.tensor([[0.25, 0.75, 0.0], [0.2, 0.3, 0.5]])


def test_answers_by_hand():
    y = torch.tensor([0, 2])
    assert metrics.accuracy(P, y) == 1.0  # the first of equals is the label
    assert metrics.accuracy(Q, y) == 0.5
    assert metrics.label_kept(Q, P) == 0.5
    assert metrics.order_kept(Q, P) == 0.5
    assert metrics.order_kept(Q, P, top=1) == 0.5
    assert metrics.l1(Q, P) == pytest.approx(0.25)
    assert metrics.kl(Q, P) == pytest.approx((0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 2, abs=1e-6)
    first = (0.125 + 0.375) / (math.sqrt(0.5) * math.sqrt(0.0625 + 0.5625))
    assert metrics.cosine(Q, P) == pytest.approx((first + 1) / 2)


def test_calibration_error_by_hand():
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    y = torch.tensor([0, 0, 0, 1])
    assert metrics.ece(p, y) == pytest.approx((2 * 0.1 + 2 * 0.1) / 4, abs=1e-6)
    assert metrics.ece(torch.tensor([[1.0, 0.0]]), torch.tensor([0])) == 0


def test_utility_is_what_an_honest_client_reads(victim, digits):
    none = metrics.utility(Service(victim), digits.test)
    assert none["defender_accuracy"] == none["victim_accuracy"] > 0.9
    assert none["l1"] == none["kl"] == 0
    apgp = metrics.utility(Service(victim, Defense(access=[Budget(0)], outputs=[APGPClosedForm()])), digits.test)
    assert apgp["defender_accuracy"] == apgp["victim_accuracy"]
    assert apgp["order_kept"] == apgp["label_kept"] == 1
    assert apgp["l1"] > 1
    assert apgp["ece"] > 5 * none["ece"]


def test_rounding_away_the_margin_is_seen():
    """With fewer decimals than the defense was told of, the answers tie and the accuracy falls: as it must."""
    p = torch.tensor([[0.0, 0.1, 0.9]])
    q = APGPClosedForm(decimals=6)(p)
    assert metrics.accuracy(metrics.rounded(q, 6), torch.tensor([2])) == 1
    assert metrics.accuracy(metrics.rounded(q, 3), torch.tensor([2])) == 0


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    confidence, right = torch.tensor([0.9, 0.8, 0.8, 0.3]), torch.tensor([True, True, False, False])
    pairs = [(a > b) + 0.5 * (a == b) for a in confidence[right] for b in confidence[~right]]
    assert metrics.auroc(confidence, right) == pytest.approx(torch.tensor([float(it) for it in pairs]).mean().item())
    assert math.isnan(metrics.auroc(confidence, torch.ones(4, dtype=torch.bool)))


def test_added_memory_is_seen():
    grown = memory.added_mb(lambda: torch.ones(30_000_000))
    assert math.isnan(grown) or grown > 100


@pytest.mark.skipif(not memory.TRIM, reason="only glibc gives freed memory back when asked")
def test_what_earlier_jobs_freed_is_not_counted():
    kept = [bytes(50_000) for _ in range(2_000)]  # 100 MB in pieces that glibc serves from its heap
    fence = bytes(50_000)  # at the heap's top, so that freeing them cannot shrink it
    del kept
    assert math.isnan(grown := memory.added_mb(lambda: [bytes(50_000) for _ in range(1_000)])) or grown > 40
    assert fence
