"""Attackers of an audit, tried before the plan."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from feint import bench
from feint.attacks import Surrogate
from feint.audit import attacker
from feint.data import Split
from feint.models.networks import Network
from feint.models.training import Training
from feint.progress import NO_PROGRESS
from feint.signature import Pixels

SHAPE = Pixels((3, 16, 64))
QUICK = Training(epochs=5, least_steps=150, batch_size=32, learning_rate=0.01)
DIVERGING = Training(epochs=5, least_steps=150, batch_size=32, learning_rate=1e4)


def two_kinds(n: int) -> tuple[Split, torch.Tensor]:
    """Images that are brighter on the left or on the right, and a model's answers to them."""
    random = np.random.default_rng(0)
    images, right = random.integers(0, 60, (n, 3, 16, 64)), random.integers(0, 2, n)
    for i, side in enumerate(right):
        images[i, :, :, 32 * side : 32 * side + 32] += 80
    split = Split.of(images.astype(np.uint8), right.astype(np.int64))
    return split, torch.eye(2)[torch.from_numpy(right)] * 0.9 + 0.05


def test_a_training_that_diverges_is_not_the_attacker():
    pool, p = two_kinds(300)
    tried = [Surrogate(Network("mlp", SHAPE, 2), training) for training in (DIVERGING, QUICK)]
    choice = attacker.choose(tried, pool, p, seconds=600, progress=NO_PROGRESS)
    assert choice.best.surrogate.training == QUICK
    assert choice.best.agreement > 0.95
    assert choice.learned
    assert 0.4 < choice.baselines["majority"] < 0.65
    assert set(choice.baselines) == {"majority", "nearest neighbour"}


@pytest.mark.parametrize(
    ("suite", "victim", "shape"),
    [("quick", "digits", (1, 8, 8)), ("fashion_mnist", "lenet", (1, 28, 28)), ("cifar10", "resnet20", (3, 32, 32))],
)
def test_an_audit_tries_the_attacker_of_the_suites(suite, victim, shape):
    read = bench.load(suite)
    entry = read.victims[victim]
    network = Network(entry.surrogate or entry.network, Pixels(shape), 10)
    training = read.training_on(victim, network)
    tried = attacker.contenders(torch.nn.Identity(), Pixels(shape), 10)
    assert Surrogate(network, replace(training, flip=False)) in tried


def test_answers_without_a_rule_are_not_learned():
    pool, p = two_kinds(200)
    random = p[torch.randperm(len(p), generator=torch.Generator().manual_seed(1))]
    choice = attacker.choose(
        [Surrogate(Network("linear", SHAPE, 2), QUICK)], pool, random, seconds=600, progress=NO_PROGRESS
    )
    assert not choice.learned


def test_the_first_attacker_is_tried_whatever_the_time():
    pool, p = two_kinds(120)
    slow = Surrogate(Network("resnet20", SHAPE, 2), QUICK)
    tried = [Surrogate(Network("linear", SHAPE, 2), QUICK), slow]
    choice = attacker.choose(tried, pool, p, seconds=0.0, progress=NO_PROGRESS)
    assert [one.name for one in choice.attackers] == ["linear"]
    assert choice.left_out == ("resnet20",)


def test_a_training_in_steps_costs_by_its_steps_and_one_at_once_by_its_rows():
    def seconds(name, budget):
        return attacker.Attacker(Surrogate(Network(name, SHAPE, 2), QUICK), 0.9, 10.0, 1000).seconds_for(budget)

    assert seconds("logistic", 2000) == 20.0
    assert seconds("logistic", 10) == 2.0
    assert seconds("mlp", 2000) == 20.0
    assert 8.0 < seconds("mlp", 100) < 10.0
