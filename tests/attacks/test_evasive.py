"""Evasive: less evidence than random queries leave, for the same number of answers."""

import numpy as np
import pytest
import torch
from tests.examples import NETWORK
from tests.support.problems import Linear

from feint import Service
from feint.attacks import Evasive, KnockoffNets, RaisedEnergy
from feint.attacks.pool.evasive import ordinariness
from feint.data import Split
from feint.defenses.access import SequentialTest
from feint.errors import BadInput
from feint.models.networks import Network
from feint.models.perturbation import PGD
from feint.models.stored import Trained
from feint.models.training import Training, learn


class Contrast(Linear):
    """A victim that is sure of what has contrast."""

    def forward(self, x):
        return super().forward(2 * x - 1).abs()


TRAINING = Training(epochs=5, batch_size=32)


def images(n: int, low: int, high: int, seed: int) -> Split:
    """Noise between two levels of grey, and its negative beyond: the wider the sharper."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(low, high, (n, 1, 2, 2), generator=generator)
    signs = torch.randint(0, 2, levels.shape, generator=generator)
    x = torch.where(signs.bool(), 127 + levels, 127 - levels).to(torch.uint8)
    return Split.of(x.numpy(), torch.zeros(n, dtype=torch.int64).numpy())


HONEST, NATURAL = images(900, 90, 128, 0), images(300, 90, 128, 1)
FLAT, SHARP = images(900, 0, 40, 2), images(300, 90, 128, 3)
MIXED = Split.of(np.concatenate([FLAT.values, SHARP.values]), np.zeros(1200, np.int64))


def evidence(attack, seed: int) -> float:
    """The most evidence that a sequential test, calibrated on honest clients, had against the attacker."""
    test, victim = SequentialTest(alpha=0.01).fit(Contrast(), HONEST), Contrast()
    oracle = Service(victim).oracle(client="attacker", budget=120)
    attack.steal(oracle, seed=seed)
    assert oracle.asked == 120
    x = oracle.transcript.x
    assert len(x.flatten(1).unique(dim=0)) == 120
    return test.replay(test.score(x, victim(x).detach())[None]).max().item()


@pytest.mark.slow
def test_evasive_leaves_less_evidence_than_random_queries():
    random = [evidence(KnockoffNets(MIXED, NETWORK, TRAINING), seed) for seed in range(3)]
    alone = [evidence(Evasive(MIXED, NETWORK, TRAINING), seed) for seed in range(3)]
    hidden = [evidence(Evasive(MIXED, NETWORK, TRAINING, NATURAL), seed) for seed in range(3)]
    assert min(random) >= 1  # accused
    assert max(alone) < min(random)
    assert max(hidden) < min(alone)


@pytest.fixture(scope="module")
def proxy() -> Trained:
    """A model of the task that the victim's owner did not train."""
    x = torch.cat([MIXED.inputs(), HONEST.inputs()])
    return Trained.of(learn(NETWORK, x, Contrast()(x).softmax(-1).detach(), Training(epochs=30, batch_size=64)))


def test_a_proxy_hides_an_attacker_from_the_first_query_on(proxy):
    random = evidence(KnockoffNets(MIXED, NETWORK, TRAINING), 0)
    hidden = evidence(Evasive(MIXED, NETWORK, TRAINING, share=0.0, proxy=proxy), 0)
    unchosen = evidence(Evasive(MIXED, NETWORK, TRAINING, share=0.0, among=1, proxy=proxy), 0)
    assert hidden < 0.5 < 1 < min(random, unchosen)


def test_gradient_steps_on_a_proxy_leave_less_evidence(proxy):
    steps = RaisedEnergy(PGD(0.1, 0.4), steps=10)
    moved = evidence(Evasive(MIXED, NETWORK, TRAINING, share=0.0, among=1, proxy=proxy, disguise=steps), 0)
    assert moved < evidence(Evasive(MIXED, NETWORK, TRAINING, share=0.0, among=1, proxy=proxy), 0) / 2


def test_a_proxy_of_another_domain_is_refused(proxy):
    other = Trained.of(Network("mlp", (1, 3, 3), 3).build(0))
    oracle = Service(Linear()).oracle(client="a", budget=10)
    with pytest.raises(BadInput, match="which the proxy takes"):
        Evasive(MIXED, NETWORK, TRAINING, proxy=other).steal(oracle)
    assert oracle.asked == 0


def test_natural_queries_have_their_share_in_every_round():
    oracle = Service(Linear()).oracle(client="a", budget=100)
    Evasive(MIXED, NETWORK, TRAINING, NATURAL, share=0.3, rounds=3).steal(oracle)
    known = {row.numpy().tobytes() for row in NATURAL.inputs()}
    natural = torch.tensor([row.numpy().tobytes() in known for row in oracle.transcript.x])
    assert [int(part.sum()) for part in natural.split(25)] == [25, 8, 8, 8]
    assert not natural[25:33].all()  # shuffled


def test_ordinariness_is_the_worse_rank_by_energy_and_confidence():
    z = torch.tensor([[9.0, 0, 0], [9.0, 9.0, 0], [2.0, 0, 0], [0.0, 0, 0]])
    assert ordinariness(z).argsort(stable=True)[0] == 0
    assert ordinariness(z)[3] == 3


def test_too_few_natural_inputs_are_refused():
    oracle = Service(Linear()).oracle(client="a", budget=1000)
    with pytest.raises(BadInput, match="natural inputs"):
        Evasive(MIXED, NETWORK, TRAINING, NATURAL).steal(oracle)
    assert oracle.asked == 0
