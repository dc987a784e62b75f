"""Tuned: never behind the same attack without tuning."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.examples import NETWORK, pool
from tests.support.problems import Linear, edge_case_rows
from torch import nn

from feint import Defense, Service
from feint.attacks import HardLabels, KnockoffNets, Tuned, default_surrogates
from feint.attacks.pool.tuned import sharpened, shortened
from feint.attacks.seeds import attacker_seed
from feint.data import Split
from feint.errors import BadRecipe
from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.progress import ProgressCallback
from feint.recipes import registry
from feint.recipes.recipe import from_table, to_table
from feint.signature import Column, Columns
from feint.victims import answers

TRAINING = Training(epochs=10, batch_size=32, learning_rate=0.05)


def near_uniform(p, x=None):
    """95 % of every answer is uniform: the order is kept, and all gradients are a twentieth."""
    return 0.05 * p + 0.95 / p.shape[-1]


class Steps(ProgressCallback):
    def __init__(self):
        super().__init__()
        self.steps, self.epochs = [], 0

    def step(self, what, done, total):
        self.steps.append(what)
        self.epochs += what == "training"


def fidelity(attack, defense, seed):
    surrogate = attack.steal(Service(Linear(), defense).oracle(client="attacker", budget=200), seed=seed)
    test = pool(1000)
    return (answers(surrogate, test).argmax(-1) == answers(Linear(), test).argmax(-1)).float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("defense", [Defense(), Defense(outputs=[near_uniform])], ids=["none", "near uniform"])
def test_tuning_is_never_worse_than_no_tuning(defense):
    plain, tuned = (
        sum(fidelity(attack(pool(), NETWORK, TRAINING), defense, seed) for seed in range(2)) / 2
        for attack in (KnockoffNets, Tuned)
    )
    assert tuned > plain - 0.01
    if defense.outputs:
        assert tuned > plain + 0.02


@pytest.mark.slow
def test_the_choice_is_reported_and_reproduced_from_the_transcript():
    attack, oracle, progress = (
        Tuned(pool(), NETWORK, TRAINING),
        Service(Linear()).oracle(client="a", budget=100),
        Steps(),
    )
    surrogate = attack.steal(oracle, seed=3, progress=progress)
    x, p = oracle.transcript.x, oracle.transcript.p
    choice = attack.choose(x, p, seed=3)
    assert f"chosen: {choice}" in progress.steps
    again = learn(NETWORK, x, sharpened(p, choice.temperature), choice.training, seed=attacker_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(surrogate.parameters(), again.parameters(), strict=True))


def test_without_candidates_tuned_is_knockoffnets():
    one = Tuned(pool(), NETWORK, TRAINING, temperatures=(), learning_rates=(0.05,), augmentations=((0, False),))
    progress = Steps()
    a, b = (
        attack.steal(Service(Linear()).oracle(client="a", budget=60), progress=progress) for attack in (one, plain(one))
    )
    assert progress.epochs == 2 * TRAINING.epochs
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def plain(tuned):
    return KnockoffNets(tuned.pool, tuned.surrogate, tuned.training)


@pytest.mark.parametrize("budget", [1, 2])
def test_too_few_answers_to_set_one_aside(budget):
    progress, attack = Steps(), Tuned(pool(), NETWORK, TRAINING)
    attack.steal(Service(Linear()).oracle(client="a", budget=budget), progress=progress)
    assert progress.epochs == TRAINING.epochs


def test_labels_are_not_sharpened():
    progress = Steps()
    attack = Tuned(pool(), NETWORK, TRAINING, learning_rates=(), augmentations=())
    attack.through(HardLabels()).steal(Service(Linear()).oracle(client="a", budget=60), progress=progress)
    assert progress.epochs == TRAINING.epochs


def test_a_trial_takes_its_share_of_the_steps():
    training = Training(epochs=20, batch_size=50, least_steps=300)
    assert shortened(training, 0.3, 10_000) == replace(training, epochs=60 // 10, least_steps=0)
    assert shortened(training, 0.3, 500).epochs == 200 // 10  # of the 300 steps of the training
    assert shortened(replace(training, least_steps=0), 0.3, 500).epochs == 20  # it has no more
    assert shortened(training, 0.3, 10).epochs == 200


def test_the_number_of_steps_is_tuned():
    short = Training(epochs=1, least_steps=3, batch_size=32, learning_rate=0.02)
    attack = Tuned(pool(), NETWORK, short, (), (), (), trial=1.0, lengths=(0.5, 60.0))
    inputs = pool(200)
    choice = attack.choose(inputs.inputs(), answers(Linear(), inputs))
    assert choice.training == replace(short, epochs=60, least_steps=180)


@pytest.mark.parametrize("lengths", [(0.0,), (-1.0,), (math.inf,)])
def test_a_number_of_steps_is_a_multiple_above_0(lengths):
    with pytest.raises(BadRecipe, match="lengths"):
        Tuned(pool(), NETWORK, TRAINING, lengths=lengths)


@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.3, 0.01, 0.0])
def test_sharpening_is_the_power_normalised_and_keeps_the_order(temperature):
    p = edge_case_rows(5)
    q = sharpened(p, temperature)
    torch.testing.assert_close(q.sum(-1), torch.ones(len(p)))
    assert (q.isfinite() & (q >= 0)).all()
    assert ((p[:, :, None] < p[:, None]) <= (q[:, :, None] <= q[:, None])).all()
    if temperature >= 0.3:
        power = p.double() ** (1 / temperature)
        torch.testing.assert_close(q.double(), power / power.sum(-1, keepdim=True), rtol=1e-4, atol=1e-7)
    if not temperature:
        assert torch.equal(q.argmax(-1), p.argmax(-1))
        assert torch.equal(q.amax(-1), torch.ones(len(p)))


COLUMNS = Columns((Column("age", mean=0.0, deviation=1.0), Column("job", tuple("abcd"))))


class Rule(nn.Module):
    """A victim of rows whose two columns act together: no line separates its classes."""

    domain = COLUMNS

    def forward(self, x):
        score = torch.sign(x[:, 0]) * torch.where(x[:, 1] % 2 == 1, 2.0, -2.0)
        return torch.stack([-score, score], 1).float()


def table(n=400):
    return Split.of(COLUMNS.sample(n, 0), np.zeros(n, np.int64), domain=COLUMNS)


def test_another_surrogate_is_chosen_where_it_copies_better():
    surrogates = default_surrogates(COLUMNS, 2)
    line = surrogates[0]
    oracle = Service(Rule()).oracle(client="a", budget=300)
    copy = Tuned(table(), line.network, line.training, surrogates=surrogates[1:3]).steal(oracle)
    assert copy.network.name == "boosted_trees"
    test = torch.from_numpy(COLUMNS.sample(1000, 1))
    assert (copy(test).argmax(1) == Rule()(test).argmax(1)).float().mean() > 0.95


def test_what_scikit_learn_fits_has_no_rates_and_no_augmentations_to_try():
    attack = Tuned(table(), Network("logistic", COLUMNS, 2))
    progress = Steps()
    attack.steal(Service(Rule()).oracle(client="a", budget=60), progress=progress)
    assert progress.epochs == 1 + 1 + len(attack.temperatures)  # as it is, sharpened, and on all answers


def test_a_rate_that_diverges_is_lowered_and_never_a_result():
    wild = Training(epochs=5, learning_rate=1e4)
    attack = Tuned(table(), Network("mlp", COLUMNS, 2), wild, temperatures=(), learning_rates=())
    copy = attack.steal(Service(Rule()).oracle(client="a", budget=60))
    assert all(weight.isfinite().all() for weight in copy.parameters())
    rates = Tuned(table(), Network("mlp", COLUMNS, 2), wild, temperatures=(), learning_rates=(0.05,))
    assert rates.choose(*answered(60)).training.learning_rate == 0.05


def answered(n):
    x = torch.from_numpy(COLUMNS.sample(n, 0))
    return x, Rule()(x).softmax(1)


def test_a_recipe_without_further_surrogates_is_spelled_as_before():
    assert "surrogates" not in to_table(Tuned(pool(), NETWORK))
    attack = Tuned(table(), Network("mlp", COLUMNS, 2), surrogates=default_surrogates(COLUMNS, 2))
    assert from_table(to_table(attack), registry.vocabulary()) == attack
