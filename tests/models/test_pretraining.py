"""Trainings that start from a network of another, public task."""

from dataclasses import replace

import pytest
import torch

from feint import Service, data
from feint.attacks import KnockoffNets, Surrogate, Tuned
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.cache import cached_in
from feint.models.networks import Network
from feint.models.pretraining import copy_body
from feint.models.seeds import named_seed
from feint.models.stored import Trained, save
from feint.models.training import Pretrained, Training, cross_entropy, learn, refine, train
from feint.recipes import registry
from feint.recipes.recipe import from_table, to_table
from feint.signature import Column, Columns
from feint.victims import answers

NETWORK = Network("lenet", (1, 8, 8), 5)
BRIEF = Training(epochs=1, batch_size=32, learning_rate=0.05)
LONG = replace(BRIEF, epochs=20)
X = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 5
STILL = replace(BRIEF, learning_rate=1e-12, weight_decay=0.0)  # the weights stay where they start


def digits(split, first):
    """The images of five digits from `first` on, as a task of their own."""
    values, labels = split.arrays
    rows = (labels >= first) & (labels < first + 5)
    return Split.of(values[rows], labels[rows] - first)


@pytest.fixture(scope="module")
def public():
    """A network of the digits 0 to 4."""
    return train(NETWORK, digits(data.load("digits").train, 0), training=LONG, seed=5)


def without_head(model):
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("body.11")}


def is_start(model, source):
    pairs = zip(without_head(model).values(), without_head(source).values(), strict=True)
    return all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_a_start_of_another_task_teaches_more_from_200_queries(public):
    images = data.load("digits")
    victim, test = train(NETWORK, digits(images.train, 5), training=LONG, seed=1), digits(images.test, 5)
    labels = answers(victim, test).argmax(-1)
    fidelities = []
    for start in (None, Trained.of(public)):
        attack = KnockoffNets(images.pool, NETWORK, replace(LONG, epochs=10, start=start))
        stolen = attack.steal(Service(victim).oracle(client="a", budget=200))
        fidelities.append((answers(stolen, test).argmax(-1) == labels).double().mean().item())
    assert fidelities[1] > fidelities[0] + 0.1


def test_all_weights_but_those_of_the_head_are_copied(public):
    model = learn(NETWORK, X, Y, replace(STILL, start=Trained.of(public)), seed=3)
    assert is_start(model, public)
    assert torch.allclose(model.state_dict()["body.11.weight"], NETWORK.build(3).state_dict()["body.11.weight"])


def test_the_head_has_the_classes_of_the_new_task(public):
    model = learn(replace(NETWORK, classes=7), X, Y, replace(BRIEF, start=Trained.of(public)))
    assert model(X).shape == (40, 7)


def test_a_start_by_recipe_is_trained_on_its_data(tmp_path):
    start = Pretrained("digits/train:0/4", replace(BRIEF, epochs=2), seed=4)
    known, seed = data.load("digits").train.share(0, 4), named_seed("pretraining", 4)
    expected = train(replace(NETWORK, classes=10), known, training=start.training, seed=seed)
    with cached_in(tmp_path):
        assert is_start(learn(NETWORK, X, Y, replace(STILL, start=start)), expected)


def test_a_start_by_recipe_begins_with_other_weights_than_a_victim_of_its_seed():
    start = Pretrained("digits/train:0/4", STILL, seed=4)
    copy, victim = learn(NETWORK, X, Y, replace(STILL, start=start)), learn(NETWORK, X, Y, STILL, seed=4)
    for name, weights in without_head(victim).items():
        if weights.ndim > 1:
            assert (weights - without_head(copy)[name]).abs().median() > 1e-3


def test_images_of_a_start_are_scaled_to_the_network():
    network = replace(NETWORK, domain=replace(NETWORK.domain, shape=(1, 12, 12)))
    start = Pretrained("digits/train:0/4", BRIEF)
    model = learn(network, torch.rand(10, 1, 12, 12), Y[:10], replace(BRIEF, start=start))
    assert model(torch.rand(2, 1, 12, 12)).isfinite().all()


def test_a_trained_network_in_a_directory_is_a_start(tmp_path, public):
    save(tmp_path / "public", public, data="digits")
    training = registry.parse(f"Training(epochs=1, start=Loaded({str(tmp_path / 'public')!r}))")
    assert training.start == Trained.of(public)
    assert is_start(training.start.model, public)


def test_a_start_is_a_part_of_the_recipe():
    training = replace(BRIEF, start=Pretrained("digits/train", BRIEF, seed=2))
    assert registry.parse(repr(training)) == training
    assert from_table(to_table(training), registry.vocabulary()) == training


def test_a_training_without_a_start_has_the_table_that_it_had():
    assert not {"start", "auxiliary"} & to_table(Training()).keys()


def test_trainings_of_different_starts_are_cached_apart(tmp_path, public):
    starts = [Trained.of(public), Trained.of(NETWORK.build(1)), Pretrained("digits/train:0/4", BRIEF)]
    with cached_in(tmp_path):
        models = [learn(NETWORK, X, Y, replace(STILL, start=start)) for start in (*starts, None)]
    assert len({str(model.state_dict()["body.0.weight"].sum().item()) for model in models}) == 4


@pytest.mark.parametrize(
    "other", [Network("mlp", (1, 8, 8), 5), Network("lenet", (3, 8, 8), 5), Network("lenet", (1, 16, 16), 5)], ids=str
)
def test_a_start_of_another_form_is_refused(other):
    with pytest.raises(BadInput, match="a start of the network"):
        copy_body(other.build(), NETWORK.build())


def test_a_start_on_other_inputs_is_refused():
    rows = Network("mlp", Columns((Column("a", mean=0.0, deviation=1.0),)), 5)
    with pytest.raises(BadInput, match="a start on digits/train"):
        learn(rows, torch.rand(40, 1).double(), Y, replace(BRIEF, start=Pretrained("digits/train", BRIEF)))


@pytest.mark.parametrize("name", ["linear", "logistic"])
def test_networks_without_hidden_layers_have_no_start(name):
    network = replace(NETWORK, name=name)
    with pytest.raises(BadRecipe, match="start"):
        learn(network, X, Y, replace(BRIEF, start=Trained.of(Network("linear", (1, 8, 8), 5).build())))


def test_a_loss_of_its_own_has_no_start(public):
    with pytest.raises(BadRecipe, match="start in a training of given weights"):
        refine(public, X, Y, replace(BRIEF, start=Trained.of(public)), loss=cross_entropy, name="")


def test_a_start_that_teaches_more_is_the_choice_of_a_tuning(public):
    x, y = digits(data.load("digits").pool, 5).inputs()[:90], digits(data.load("digits").pool, 5).labels[:90]
    tuned = Tuned(
        data.load("digits").pool, NETWORK, LONG, temperatures=(), learning_rates=(), augmentations=(),
        starts=(Trained.of(public),),
    )  # fmt: skip
    assert tuned.choose(x, torch.eye(5)[y]).training.start == Trained.of(public)


def test_a_start_is_a_surrogate_to_try(public):
    surrogate = Surrogate(NETWORK, replace(LONG, start=Trained.of(public)))
    tuned = Tuned(data.load("digits").pool, NETWORK, BRIEF, (), (), (), surrogates=(surrogate,))
    split = digits(data.load("digits").pool, 5)
    choice = tuned.choose(split.inputs()[:90], torch.eye(5)[split.labels[:90]])
    assert choice.training.start == Trained.of(public)
