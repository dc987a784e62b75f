"""Plan of an audit: what fits into its minutes."""

import pytest

from feint.attacks import Recovered, Surrogate
from feint.audit import candidates, plan
from feint.audit.attacker import Attacker, AttackerChoice
from feint.audit.samples import load_samples
from feint.data import Split
from feint.defense import Defense
from feint.defenses.outputs import GaussianNoise, LabelOnly, ReverseSigmoid
from feint.models.networks import Network
from feint.models.training import Training
from feint.signature import Pixels

SHAPE = Pixels((1, 8, 8))
SIGMOID = {"sigmoid": candidates.Candidate("sigmoid", "", Defense(outputs=[ReverseSigmoid()]))}


def trial(name, agreement, seconds, training=None):
    return Attacker(Surrogate(Network(name, SHAPE, 10), training or Training()), agreement, seconds)


def planned(minutes, *, trials, spent=0.0, left_out=()):
    choice = AttackerChoice(tuple(trials), {"majority": 0.1}, 200, left_out=tuple(left_out))
    return plan.make_plan(
        load_samples("digits", None, SHAPE), SIGMOID, choice, minutes=minutes, seconds_per_answer=1e-5, spent=spent
    )


def test_more_minutes_run_more(victim):
    samples, thefts = load_samples("digits", None, SHAPE), []
    for minutes in (0.01, 1, 5, 60):
        made = planned(minutes, trials=[trial("mlp", 0.9, 1.0)])
        assert made.seconds <= minutes * 60 or made.least
        assert planned(minutes, trials=[trial("mlp", 0.9, 1.0)], spent=minutes * 60).least
        assert made.least == (minutes == 0.01)
        assert made.size.budgets[0] == 100
        matrix = made.matrix(victim, samples, SIGMOID)
        thefts.append(len(matrix.cells()))
        first = next(cell for cell in matrix.cells() if cell.attack)
        assert (first.defense, first.attack, first.budget) == ("none", "KnockoffNets", made.size.budgets[-1])
    assert thefts == sorted(set(thefts))
    assert any("labels only" in name for name in made.attacks(Defense(), samples.pool))


def test_three_seeds_come_before_lenses_and_large_budgets_before_both():
    order = list(plan.sizes((100, 500, 2000, 5000), ()))
    assert order[0] == plan.Size((100, 500, 2000, 5000), 3, lenses=True, tuned=True, thorough=True)
    assert order.index(plan.Size((100, 500, 2000, 5000), 3)) < order.index(plan.Size((100, 500, 2000), 3, lenses=True))
    assert order.index(plan.Size((100, 500), 3)) < order.index(plan.Size((100, 500, 2000, 5000)))


def test_the_best_attacker_is_planned_and_a_weaker_one_is_named_as_weaker():
    strong, weak = trial("lenet", 0.95, 50.0), trial("mlp", 0.4, 0.1)
    made = planned(60, trials=[strong, weak])
    assert made.surrogate.name == "lenet"
    hurried = planned(2, trials=[strong, weak], left_out=["resnet20"])
    assert hurried.surrogate.name == "mlp"
    assert [note.phrase for note in hurried.notes] == ["attacker too slow", "attackers not tried"]
    assert hurried.hurried
    assert not made.hurried
    assert planned(0.01, trials=[strong, weak]).surrogate.name == "lenet"
    assert AttackerChoice((strong, trial("mlp", 0.945, 0.1)), {"majority": 0.1}, 200).best.name == "mlp"


def test_of_trainings_as_long_that_agree_as_often_the_one_with_mirror_images_is_the_fullest():
    plain, mirrored = trial("lenet", 0.95, 1.0), trial("lenet", 0.94, 1.5, Training(flip=True))
    assert AttackerChoice((plain, mirrored), {"majority": 0.1}, 200).fullest == mirrored


def test_the_longest_training_that_agrees_as_often_is_planned_and_smaller_budgets_are_left_out_for_it():
    short, long = trial("mlp", 0.94, 1.0), trial("mlp", 0.93, 10.0, Training(least_steps=20_000))
    worse = trial("mlp", 0.8, 20.0, Training(least_steps=40_000))
    other = trial("lenet", 0.94, 30.0, Training(least_steps=60_000))
    most = planned(1, trials=[short]).size.budgets
    made = {minutes: planned(minutes, trials=[short, long, worse, other]) for minutes in (1, 2, 10)}
    assert {minutes: it.training for minutes, it in made.items()} == {
        1: Training(),
        2: long.surrogate.training,
        10: long.surrogate.training,
    }
    assert (made[10].size.budgets, made[2].size.budgets) == (most, most[-2:])
    assert [note.phrase for note in made[1].notes] == ["training shortened"]
    assert not made[2].notes
    assert not made[10].notes
    assert not made[1].hurried


def test_a_wanted_budget_is_never_left_out_for_a_longer_training():
    assert list(plan.without_smaller((100, 500, 2000, 5000), ())) == [(500, 2000, 5000), (2000, 5000)]
    assert list(plan.without_smaller((100, 500, 2000, 5000), (500,))) == [(500, 2000, 5000), (500, 5000), (500,)]
    assert list(plan.without_smaller((100, 500), ())) == []


def test_lenses_that_train_models_are_paid_for_whatever_the_network_is(monkeypatch):
    monkeypatch.setattr(plan, "OVERHEAD", 0.0)
    tried = {candidate.name: candidate for candidate in (
        candidates.Candidate("label only", "LabelOnly", Defense(outputs=[LabelOnly()])),
        candidates.Candidate("reverse sigmoid", "ReverseSigmoid", Defense(outputs=[ReverseSigmoid()])),
    )}  # fmt: skip
    speed = plan.Speed(answer=0.0, attacker=trial("mlp", 0.9, 0.0), restorer=7.0)
    for size, seconds in ((plan.Size((100, 500), 3, lenses=True), 0), (plan.Size((100, 500), 3, thorough=True), 42)):
        assert plan.estimate(size, tried, speed) == seconds
    assert 0 < plan.restorer_seconds(10) < 600


@pytest.mark.parametrize(("labelled", "shadows"), [(True, candidates.SHADOWS), (False, candidates.FEW_SHADOWS)])
def test_shadows_that_are_trained_for_each_theft_are_few(labelled, shadows, digits):
    labels = digits.pool.labels.numpy() * labelled
    pool = Split.of(digits.pool.values, labels, domain=digits.domain)
    sigmoid, surrogate = SIGMOID["sigmoid"].defense, Network("mlp", digits.domain, 10)
    (lens,) = candidates.adaptive_lenses(sigmoid, pool, surrogate, Training(), thorough=True)["recovered"]
    assert isinstance(lens, Recovered)
    assert lens.shadows == shadows


def test_altered_copies_are_asked_only_of_models_in_this_process(digits):
    noisy = Defense(outputs=[GaussianNoise("secret", 0.1)])
    surrogate = Network("mlp", digits.domain, 10)
    lenses = candidates.adaptive_lenses(noisy, digits.pool, surrogate, Training(), thorough=False)
    once = candidates.adaptive_lenses(noisy, digits.pool, surrogate, Training(), thorough=False, copies=False)
    assert list(lenses) == ["smoothed over 3", "near copies, 16"]
    assert not once
