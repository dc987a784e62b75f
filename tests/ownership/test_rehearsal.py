"""Rehearsals: the copies and innocents by which an owner chooses a mark's inputs."""

import torch

from feint.models import networks
from feint.models.inference import answers
from feint.models.training import Training, learn
from feint.ownership import ClaimTrial, plan_controls
from feint.ownership.rehearsal import rehearse
from feint.ownership.selection import NONE

TRAINING = Training(epochs=1, learning_rate=0.05)


def test_copies_are_those_of_an_attacker_with_the_network_and_training_that_are_named(victim, digits):
    network = networks.get("linear", digits)
    assert victim.network != network
    made = rehearse(victim, digits.train, digits.pool, 3, network=network, training=TRAINING)
    assert [each.network for each in made.copies] == [network] * 2
    labels, plans = answers(victim, digits.pool).argmax(-1), plan_controls(6, network, TRAINING, role="rehearsal")
    wanted = learn(network, digits.pool.inputs(), labels, TRAINING, seed=plans[0].seed)
    x = digits.test.inputs()
    assert torch.equal(made.copies[0](x), wanted(x))
    assert [each.network == network for each in made.references] == [True, False, True]


def test_a_trial_chooses_its_marks_by_the_models_at_hand(victim, digits, monkeypatch):
    given = rehearse(victim, digits.train, digits.pool, 3, training=TRAINING)
    monkeypatch.setattr("feint.ownership.survival.rehearse", lambda *_, **__: NONE)
    chosen, plain = (ClaimTrial(least=1).marks(victim, digits, rehearsal=each) for each in (given, None))
    triggers = [next(mark for mark in marks if mark.method == "triggers") for marks in (chosen, plain)]
    assert not torch.equal(triggers[0].x, triggers[1].x)
