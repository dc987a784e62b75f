"""Rehearsals: the copies and innocents by which an owner chooses a mark's inputs."""

import torch

from feint.models import networks
from feint.models.inference import answers
from feint.models.training import Training, learn
from feint.ownership import ClaimTrial, plan_controls
from feint.ownership.rehearsal import rehearse
from feint.ownership.selection import NONE
from feint.ownership.triggers import Triggers

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


def test_students_of_copies_and_of_the_model_stand_beside_students_of_innocents(victim, digits, monkeypatch):
    learned = dict[torch.nn.Module, torch.Tensor]()

    def learn(network, _, targets, __, *, seed):
        made = network.build(seed)
        learned[made] = targets
        return made

    monkeypatch.setattr("feint.ownership.rehearsal.learn", learn)
    made = rehearse(victim, digits.train, digits.pool, 3, training=TRAINING, students=True)
    assert [each.network.name for each in made.copies] == ["mlp", "lenet", "lenet"] * 2
    assert [each.network.name for each in made.references] == ["mlp", "lenet", "linear", "mlp", "lenet"]
    copy, of_copy, of_model, *_ = made.copies
    innocent, of_innocent, *_ = made.references
    for student, teacher in ((of_copy, copy), (of_model, victim), (of_innocent, innocent)):
        assert torch.equal(learned[student], answers(teacher, digits.pool))
    assert len({next(each.parameters()).sum().item() for each in learned}) == 8  # no two begin with the same weights


def test_a_trial_chooses_its_marks_by_the_models_at_hand(victim, digits, monkeypatch):
    given = rehearse(victim, digits.train, digits.pool, 3, training=TRAINING)
    monkeypatch.setattr("feint.ownership.survival.rehearse", lambda *_, **__: NONE)
    chosen, plain = (ClaimTrial(least=1).marks(victim, digits, rehearsal=each) for each in (given, None))
    triggers = [next(mark for mark in marks if mark.method == "triggers") for marks in (chosen, plain)]
    assert not torch.equal(triggers[0].x, triggers[1].x)


def test_a_trial_of_students_rehearses_them_and_moves_for_them(victim, digits, monkeypatch):
    asked = list[bool]()
    monkeypatch.setattr("feint.ownership.survival.rehearse", lambda *_, students, **__: asked.append(students) or NONE)
    made = list[Triggers]()
    monkeypatch.setattr(Triggers, "mark", lambda self, *_: made.append(self))
    for students in (None, True):
        ClaimTrial(least=1, students=students).marks(victim, digits)
    assert asked == [False, True]
    assert [(each.momentum, each.sure) for each in made] == [(0.0, 1.0), (0.8, 0.9)]
