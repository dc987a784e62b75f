"""What clients get does not depend on the last bits of an output: decisions are the same in any batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.examples import pool
from tests.support import gateways
from tests.support.problems import Linear, Steps
from tests.support.variance import BatchVariant, assert_close, wobble
from torch import nn

from feint.attacks import Smoothed
from feint.data import Split
from feint.defenses.access import PrivacyCost, SequentialTest
from feint.defenses.outputs import EDM, Gated, GaussianNoise, LabelOnly, UniformNoise
from feint.defenses.outputs.looks import hashes
from feint.defenses.scores import Energy, MaxProbability
from feint.ledger import Ledger
from feint.models.networks import Network
from feint.query import Query
from feint.service import Defense, Ladder, Service
from feint.victims import logits, predict

X = pool().inputs(slice(0, 120))


def answers(service: Service, size: int, x: torch.Tensor = X) -> torch.Tensor:
    """The answers to `x`, asked `size` inputs at a time by one client."""
    return torch.cat([service(Query(part, "a")).p for part in x.split(size)])


def test_the_toys_differ_in_their_last_bits_and_no_more():
    for victim in (Linear(), Steps(), BatchVariant(Steps())):
        whole, alone = victim(X), torch.cat([victim(x[None]) for x in X])
        assert not torch.equal(whole, alone)
        assert_close(whole, alone, rtol=2e-6, atol=0)
    rows = X[:30].numpy()
    whole, alone = gateways.linear(rows), np.concatenate([gateways.linear(row[None]) for row in rows])
    assert not np.array_equal(whole, alone)
    assert_close(whole, alone, rtol=5e-6, atol=0)


@pytest.mark.parametrize("victim", [Linear(), Steps()], ids=["regression", "tree"])
@pytest.mark.parametrize("noise", [GaussianNoise("secret", 0.3), UniformNoise("secret", 0.3)], ids=repr)
def test_keyed_noise_is_that_of_the_input_in_any_batch(victim, noise):
    service = Service(victim, Defense(outputs=[noise]))
    whole = answers(service, len(X))
    for size in (1, 7):
        assert_close(answers(service, size), whole)


@pytest.mark.parametrize("score", [Energy(), MaxProbability()], ids=repr)
def test_a_gate_opens_for_the_same_inputs_in_any_batch_where_many_have_the_score_of_its_threshold(score):
    gate = Gated(harsh=LabelOnly(), gentle=LabelOnly(), score=score, share=0.5)
    fitted = gate.fit(Steps(), pool())
    open_in_batches = [
        torch.cat([fitted._suspicion(score(part, Steps()(part))) for part in X.split(size)]) for size in (len(X), 7, 1)
    ]
    for one_by_one in open_in_batches[1:]:
        assert torch.equal(open_in_batches[0], one_by_one)


def detectors() -> dict:
    return {
        "SequentialTest": SequentialTest(alpha=0.05).fit(Steps(), pool()),
        "PrivacyCost": PrivacyCost(teachers=20, sigma=1.0).fit(Steps(), labelled(pool())),
    }


def labelled(split: Split) -> Split:
    """Labels that differ within a leaf, so that which neighbour is the nearest one matters."""
    return Split.of(split.values, (np.arange(len(split)) % 3).astype(np.int64), name="labelled")


def logits_in_batches(size: int) -> list[torch.Tensor]:
    return [logits(Steps(), part) for part in X.split(size)]


def test_bets_on_a_tree_s_scores_are_won_alike_in_any_batch():
    """A tree gives many inputs one score: a last bit below it is not below all of them."""
    detector = detectors()["SequentialTest"]
    whole, one_by_one = (
        torch.cat([detector.wins(detector.score(X, z))[0] for z in logits_in_batches(size)]) for size in (len(X), 1)
    )
    assert torch.equal(whole, one_by_one)


def test_teachers_of_a_tree_vote_alike_in_any_batch():
    """A teacher has many inputs of one leaf, and its first one votes."""
    detector = detectors()["PrivacyCost"]
    whole, one_by_one = (torch.cat([detector.cost(z) for z in logits_in_batches(size)]) for size in (len(X), 1))
    assert torch.equal(whole, one_by_one)


@pytest.mark.parametrize("name", detectors())
def test_evidence_against_the_client_of_a_tree_is_the_same_in_any_batch(name):
    detector = detectors()[name]

    def asked(size: int) -> tuple[float, float]:
        ledger = Ledger()
        service = Service(Steps(), Ladder([detector], [Defense(), Defense(outputs=[LabelOnly()])]), ledger=ledger)
        answers(service, size)
        return ledger["a"].total("evidence"), ledger["a"].total("rung")

    evidence, rung = asked(len(X))
    reached = asked(1)
    assert reached[0] == pytest.approx(evidence, rel=1e-4, abs=1e-4)
    assert reached[1] == rung


def test_perceptual_hashes_of_symmetric_images_are_those_of_their_pixels():
    """Half of the frequencies of a mirrored image are 0, which a matrix product gives but for its last bits."""
    half = torch.rand(40, 1, 8, 4, generator=torch.Generator().manual_seed(0))
    x = torch.cat([half, half.flip(-1)], -1)
    for seed in range(3):
        noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) - 0.5
        assert torch.equal(hashes((x + 1e-7 * noise).clamp(0, 1)), hashes(x))


class Sure(nn.Module):
    """A hash network whose largest probability is 1 but for its last bits."""

    def forward(self, x):
        return wobble(torch.tensor([16.5, 0.0, 0.0]).expand(len(x), 3))


def test_a_sure_hash_names_one_member_in_any_batch():
    sure = SimpleNamespace(model=Sure(), network=Network("mlp", (1, 2, 2), 3))
    assert (predict(sure.model, X).amax(-1) < 1).any()
    assert EDM(members=5, hash_model=sure).member(X).unique().tolist() == [2]


def test_augmented_copies_are_those_of_the_input_but_for_its_last_bits():
    lens, x = Smoothed(repeats=3, crop=1), X[:9]
    assert_close(lens.send((x + 1e-7).clamp(0, 1)), lens.send(x))
