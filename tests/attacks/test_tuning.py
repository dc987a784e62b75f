"""Tuning: the best surrogate on answers set aside, and whether it learned anything."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from feint.attacks import Surrogate, default_surrogates, default_training, tune
from feint.attacks.surrogates import ADAMW, SGD
from feint.attacks.tuning import alike, fullness
from feint.errors import BadRecipe, Diverged
from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.signature import Column, Columns, Pixels, Text, Tokens

DOMAIN = Columns((Column("age", mean=0.0, deviation=1.0), Column("job", tuple("abcd")), Column("sum", optional=True)))


def rows(n, seed=0):
    """Rows, and answers that depend on two columns together: a line separates no more than three quarters of them."""
    random = np.random.default_rng(seed)
    x = np.stack([random.normal(size=n), random.integers(0, 4, n), random.normal(size=n)], 1)
    x[random.random(n) < 0.1, 2] = np.nan
    score = np.sign(x[:, 0]) * np.where(x[:, 1] % 2, 3.0, -3.0)
    return torch.from_numpy(x), torch.from_numpy(np.stack([-score, score], 1)).softmax(1).float()


def table(*names):
    return tuple(Surrogate(Network(name, DOMAIN, 2), ADAMW) for name in names)


def test_the_best_surrogate_is_chosen_and_baselines_stand_beside():
    tuning = tune(*rows(300), table("logistic", "boosted_trees"))
    assert tuning.surrogate.network.name == "boosted_trees"
    assert tuning.agreement > 0.9
    assert tuning.learned
    assert tuning.answers == 300
    assert [trial.surrogate.network.name for trial in tuning.trials] == ["logistic", "boosted_trees"]
    assert tuning.baselines.keys() == {"majority", "nearest neighbour", "linear"}
    assert tuning.baselines["linear"] == tuning.trials[0].agreement < 0.7
    assert 0.4 < tuning.baselines["majority"] < 0.6 < tuning.baselines["nearest neighbour"] < tuning.agreement


def test_of_trainings_that_agree_as_often_the_longest_is_chosen():
    boosted = table("boosted_trees")[0]  # fitted at once, so that both trials are one and the same
    longer = replace(boosted, training=replace(ADAMW, least_steps=5000))
    assert tune(*rows(300), (longer, *table("logistic", "boosted_trees"))).surrogate == longer
    assert tune(*rows(300), (boosted, *table("logistic"), longer)).surrogate == longer


def test_of_trainings_as_long_that_agree_as_often_the_one_with_mirror_images_is_chosen():
    labels = torch.arange(300) % 2
    x = (0.2 + 0.6 * labels.float()).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)  # dark and bright ones: both learn them
    plain = Surrogate(Network("mlp", Pixels((1, 8, 8)), 2), ADAMW)
    mirrored = replace(plain, training=replace(ADAMW, flip=True))
    for tried in ((plain, mirrored), (mirrored, plain)):
        assert tune(x, F.one_hot(labels).float(), tried).surrogate == mirrored


def test_a_longer_training_is_fuller_than_one_with_mirror_images():
    assert fullness(replace(ADAMW, epochs=30), 5000) > fullness(replace(ADAMW, flip=True), 5000)


def test_a_longer_training_that_agrees_less_is_not_chosen():
    slow = Surrogate(Network("mlp", DOMAIN, 2), replace(ADAMW, learning_rate=1e-9, least_steps=5000))
    quick = Surrogate(slow.network, replace(ADAMW, learning_rate=1e-2))
    tuning = tune(*rows(300), (slow, quick))
    assert tuning.surrogate == quick
    assert not alike(tuning.trials[0].agreement, tuning.agreement, tuning.answers)


def test_an_attacker_that_learned_nothing_is_known_for_it():
    x, p = rows(300)
    tuning = tune(
        x, p[torch.randperm(300, generator=torch.Generator().manual_seed(0))], table("logistic", "boosted_trees")
    )
    assert not tuning.learned


def test_one_label_for_all_teaches_nothing():
    x, _ = rows(60)
    tuning = tune(x, torch.tensor([[0.9, 0.1]]).expand(60, -1), table("logistic"))
    assert tuning.agreement == tuning.baselines["majority"] == 1
    assert not tuning.learned


def test_of_many_answers_a_fifth_is_set_aside():
    assert tune(*rows(1000), table("logistic")).answers == 200
    assert tune(*rows(2), table("logistic")).answers == 2


def test_the_same_seed_gives_the_same_choice():
    one, two = (tune(*rows(100), table("logistic", "random_forest"), seed=3) for _ in range(2))
    assert one.surrogate == two.surrogate
    assert [trial.loss for trial in one.trials] == [trial.loss for trial in two.trials]


def test_a_training_that_diverges_is_a_failed_trial():
    wild = Surrogate(Network("mlp", DOMAIN, 2), Training(epochs=5, learning_rate=1e6))
    tuning = tune(*rows(100), (wild, *table("logistic")))
    assert tuning.surrogate.network.name == "logistic"
    assert "learning rate" in (tuning.trials[0].error or "")
    assert tuning.trials[0].loss == math.inf
    with pytest.raises(Diverged, match="no surrogate whose training ended"):
        tune(*rows(100), (wild,))
    with pytest.raises(Diverged, match="a learning rate below"):
        learn(wild.network, *rows(100), wild.training)


def test_nothing_to_tune_is_refused():
    with pytest.raises(BadRecipe, match="0 surrogates"):
        tune(*rows(10), ())
    with pytest.raises(BadRecipe, match="1 answers"):
        tune(*rows(1), table("logistic"))


@pytest.mark.parametrize(
    ("domain", "first", "among"),
    [
        (DOMAIN, "logistic", {"boosted_trees", "random_forest", "mlp"}),
        (Pixels((30,)), "logistic", {"boosted_trees", "mlp"}),
        (Pixels((1, 8, 8)), "linear", {"lenet", "mlp"}),
        (Pixels((3, 32, 32)), "linear", {"lenet", "resnet9_32"}),
        (Pixels((3, 48, 192)), "linear", {"lenet", "resnet9_32_shrunk"}),
        (Text(200), "ngrams", {"bag_of_words", "textcnn"}),
        (Tokens(64, 257), "ngrams", {"textcnn"}),
    ],
    ids=["columns", "row", "grey", "colour", "wide", "text", "tokens"],
)
def test_default_surrogates_fit_their_domain(domain, first, among):
    surrogates = default_surrogates(domain, 3)
    names = [surrogate.network.name for surrogate in surrogates]
    assert names[0] == first
    assert among <= {*names}
    assert len({*surrogates}) == len(surrogates)
    assert all(surrogate.network.domain == domain for surrogate in surrogates)


@pytest.mark.parametrize(("name", "steps"), [("lenet", 4000), ("resnet9_32", 1600), ("resnet20", 1600)])
def test_the_steps_of_a_default_training_depend_on_the_network_alone(name, steps):
    training = default_training(Network(name, (3, 32, 32), 10))
    assert training.least_steps == steps
    assert (training.crop, training.flip) == (4, False)
    assert training.inputs_seen(200) == training.inputs_seen(1000) == steps * training.batch_size


def test_a_network_that_averages_over_mirror_images_is_trained_on_them():
    assert default_training(Network("resnet9_32_mirrored", (3, 32, 32), 10)).flip


def test_small_images_are_not_shifted():
    assert default_training(Network("mlp", (1, 8, 8), 10)).crop == 0


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("mlp", DOMAIN),
        ("random_forest", DOMAIN),
        ("mlp", Pixels((6,))),
        ("textcnn", Text(100)),
        ("ngrams", Tokens(9, 7)),
    ],
)
def test_rows_and_sequences_have_a_default_training_without_augmentation(name, domain):
    training = default_training(Network(name, domain, 3))
    assert not training.augments
    assert training.optimizer == "adamw"


def test_many_classes_get_no_boosted_trees():
    assert "boosted_trees" not in {surrogate.network.name for surrogate in default_surrogates(DOMAIN, 1000)}


@pytest.mark.slow
def test_a_rate_that_is_too_large_for_large_images_is_not_the_choice():
    """An audit's copy of RapidOCR's classifier was a coin toss: 0.05 is too large for an MLP on so many pixels."""
    shape = (3, 48, 96)
    x = torch.rand(90, *shape, generator=torch.Generator().manual_seed(0)) * 0.2
    labels = torch.arange(90) % 2
    x[labels == 1, :, 20:28, 20:28] += 0.2
    network, quick = Network("mlp", shape, 2), replace(ADAMW, epochs=20, least_steps=0)
    tuning = tune(x, torch.eye(2)[labels], (Surrogate(network, replace(SGD, least_steps=0)), Surrogate(network, quick)))
    assert tuning.surrogate.training == quick
    assert tuning.learned
    assert tuning.agreement > 0.8
    assert tuning.trials[0].agreement < 0.7


def test_scores_are_learned_where_every_label_is_the_same():
    x, p = rows(300)
    p = torch.stack([0.9 + 0.1 * p[:, 0], 0.1 * p[:, 1]], 1)
    tuning = tune(x, p, table("boosted_trees"))
    assert tuning.agreement == tuning.baselines["majority"] == 1
    assert tuning.learned
