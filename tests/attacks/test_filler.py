"""Filler queries: what they cost, and that near copies of ordinary inputs pay no evidence back."""

import numpy as np
import pytest
import torch

from feint.attacks import Filler, KnockoffNets
from feint.attacks.surrogates import logits
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses.access import SequentialTest, e_process
from feint.defenses.access.near_copies import NO_CODES, first_of_their_kind
from feint.defenses.scores import MaxProbability
from feint.errors import BadRecipe
from feint.ledger import Ledger
from feint.models.networks import Network
from feint.models.stored import Trained
from feint.models.training import Training
from feint.service import Service
from feint.signature import mark, near

TRAINING = Training(epochs=1, batch_size=32)


def test_fillers_are_all_different_near_copies_and_are_paid_for(digits):
    x = digits.pool.inputs(slice(0, 30))
    lens = Filler(digits.test, each=3, kinds=5)
    sent = lens.send(x)
    assert len(sent) == 120
    assert torch.equal(sent[3::4], x)
    assert len({*mark(sent.numpy())}) > 100
    known = digits.test.inputs(slice(0, 5)).flatten(1)
    fillers = sent.unflatten(0, (30, 4))[:, :3].flatten(0, 1).flatten(1)
    assert torch.cdist(fillers, known).amin(1).max() < 1.5 / 255
    p = torch.arange(120.0)[:, None].repeat(1, 2)
    assert torch.equal(lens.read(p), p[3::4])


def test_varied_fillers_are_told_apart_by_perceptual_codes(digits):
    x = digits.pool.inputs(slice(0, 30))

    def new(**fields) -> int:
        sent = Filler(digits.test, each=3, kinds=5, **fields).send(x).unflatten(0, (30, 4))[:, :3].flatten(0, 1)
        return int(first_of_their_kind(near(sent.numpy()), NO_CODES)[0].sum())

    assert new(varied=True) > 60
    assert new() <= 5


def test_a_proxy_sends_the_more_ordinary_copies(digits, victim):
    x, proxy = digits.pool.inputs(slice(0, 30)), Trained.of(victim)

    def energy(**fields) -> float:
        fillers = Filler(digits.test, each=3, varied=True, **fields).send(x).unflatten(0, (30, 4))[:, :3].flatten(0, 1)
        return logits(proxy.model, fillers).logsumexp(-1).mean().item()

    assert energy(proxy=proxy) > energy() + 0.5


def test_a_proxy_without_varied_copies_is_refused(digits, victim):
    with pytest.raises(BadRecipe, match="set varied=True"):
        Filler(digits.test, proxy=Trained.of(victim))


@pytest.mark.slow
def test_fillers_no_longer_hide_an_attacker(victim, digits, monkeypatch):
    x = torch.randint(0, 256, (150, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise = Split.of(x.numpy(), torch.zeros(150, dtype=torch.int64).numpy(), name="noise")
    attack = KnockoffNets(noise, Network("mlp", (1, 8, 8), 10), TRAINING)
    test = SequentialTest(score=MaxProbability()).fit(victim, digits.test)
    ordinary = digits.test.take(victim_confident(victim, digits), part="confident")

    def evidence(*lenses) -> float:
        ledger = Ledger()
        service = Service(victim, Ladder([test], [Defense(), Defense()]), ledger=ledger)
        attack.through(*lenses).steal(service.oracle(client="a", budget=4200))
        return ledger["a"].total("evidence")

    assert evidence(Filler(ordinary, each=40)) > 1
    monkeypatch.setattr(e_process, "first_of_their_kind", lambda x, recent: (np.ones(len(x), bool), recent))
    assert evidence(Filler(ordinary, each=40)) < 1


def victim_confident(victim, digits):
    """Return the rows of the test digits of which the victim is surest."""
    with torch.no_grad():
        return victim(digits.test.inputs()).softmax(-1).amax(-1).argsort(descending=True)[:20].numpy()
