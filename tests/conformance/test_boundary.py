"""Contracts of boundary defenses, over everything that the room exports."""

import math
import tomllib
from dataclasses import fields, replace

import numpy as np
import pytest
import tomli_w
import torch
import torch.nn.functional as F
from tests import examples
from tests.examples import TINY
from tests.support.variance import assert_close

from feint import victims
from feint.data import Split
from feint.defenses.boundary import (
    BoundaryConfusion,
    BoundaryProtection,
    NastyTeacher,
)
from feint.defenses.boundary.boundary import with_classes
from feint.defenses.boundary.boundary_confusion import k_means
from feint.defenses.boundary.boundary_protection import transitions
from feint.defenses.boundary.nasty_teacher import divergence
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Network

CASES = examples.cases(examples.BOUNDARY)


NUMBERS = [
    (method, field.name)
    for method in CASES.values()
    for field in fields(method)
    if type(getattr(method, field.name)) in (int, float)
]


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, True, "1"])
@pytest.mark.parametrize(("method", "field"), NUMBERS, ids=lambda value: str(getattr(type(value), "__name__", value)))
def test_every_number_is_finite_and_none_is_negative(method, field, number):
    with pytest.raises(BadRecipe, match=r"expected .*(values of at least|more than 0)"):
        replace(method, **{field: number})


@pytest.fixture(scope="session")
def outliers(digits):
    """Images that are no digits: their negatives."""
    return Split.of(255 - digits.pool.values[:300], np.zeros(300))


@pytest.fixture(scope="session")
def results():
    return {}


@pytest.fixture
def ready(request, results, victim, digits, outliers):
    """The recipe, its objective, and the result of one training, shared by all tests of a case."""
    recipe = CASES[request.param]
    example = examples.BOUNDARY[type(recipe).__name__]
    objective, plain = example.raises, example.without
    if request.param not in results:
        results[request.param] = recipe.retrain(victim, digits.train, outliers=outliers)
    return recipe, (objective, replace(recipe, **plain)), results[request.param]


every_case = pytest.mark.parametrize("ready", CASES, indirect=True)


def accuracy(model, split):
    return (victims.answers(model, split).argmax(-1) == split.labels).float().mean().item()


@pytest.mark.parametrize("name", CASES)
def test_a_new_model_comes_back_and_the_old_one_is_as_it_was(name, victim, digits, outliers):
    recipe = CASES[name]
    before, training, state = victims.fingerprint(victim), victim.training, torch.random.get_rng_state()
    new, _ = recipe.retrain(victim, digits.train, outliers=outliers)
    assert victims.fingerprint(victim) == before
    assert victim.training == training
    assert all(w.requires_grad for w in victim.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert victims.fingerprint(new) != before
    assert not new.training
    assert new.network == victim.network
    assert not {w.data_ptr() for w in new.parameters()} & {w.data_ptr() for w in victim.parameters()}


@every_case
def test_same_seed_same_weights_and_another_seed_others(ready, victim, digits, outliers):
    recipe, _, result = ready
    torch.manual_seed(99)
    again, other = (recipe.retrain(victim, digits.train, outliers=outliers, seed=seed) for seed in (0, 1))
    assert victims.fingerprint(again.model) == victims.fingerprint(result.model) != victims.fingerprint(other.model)
    assert again.record["losses"] == result.record["losses"]


@every_case
def test_the_record_says_how_in_plain_values(ready, victim, digits):
    recipe, _, (_, record) = ready
    read = tomllib.loads(tomli_w.dumps({name: value for name, value in record.items() if value is not None}))
    assert read["method"] == repr(recipe)
    assert read["retrained"] == victims.fingerprint(victim)
    assert read["inputs"] == repr(digits.train)
    assert len(read["losses"]) == recipe.training.epochs
    assert read["seconds"] > 0


@every_case
def test_the_task_is_still_learned_and_the_objective_moved_further_than_without_its_term(
    ready, victim, digits, outliers
):
    _, (objective, without), (new, _) = ready
    plain, _ = without.retrain(victim, digits.train, outliers=outliers)
    assert accuracy(new, digits.train) > accuracy(victim, digits.train) - 0.05
    before, ordinarily, now = (objective(model, victim, digits.train, outliers) for model in (victim, plain, new))
    assert now > max(before, ordinarily) + 1e-3


@every_case
def test_from_scratch_the_old_weights_are_not_the_start(ready, victim, digits, outliers):
    recipe, _, _ = ready
    none = replace(recipe, training=replace(TINY, epochs=0))
    same, _ = none.retrain(victim, digits.train, outliers=outliers, seed=3)
    new, _ = replace(none, from_scratch=True).retrain(victim, digits.train, outliers=outliers, seed=3)
    assert victims.fingerprint(same) == victims.fingerprint(victim)
    assert victims.fingerprint(new) == victims.fingerprint(victim.network.build(3))


@every_case
def test_data_of_another_task_is_refused(ready, victim, digits, outliers):
    recipe, _, _ = ready
    colour = Split.of(np.zeros((9, 3, 8, 8), np.uint8), np.zeros(9))
    with pytest.raises(BadInput, match="expected"):
        recipe.retrain(victim, colour, outliers=colour)
    unknown = Split.of(digits.train.values[:20], np.arange(20))
    with pytest.raises(BadInput, match="10 classes"):
        recipe.retrain(victim, unknown, outliers=outliers)
    with pytest.raises(BadRecipe, match="holdout"):
        replace(recipe, training=replace(TINY, holdout=0.1)).retrain(victim, digits.train, outliers=outliers)


@pytest.mark.parametrize("name", ["BoundaryConfusion", "OutlierExposure"])
def test_missing_outliers_are_refused_with_a_remedy(name, victim, digits):
    recipe = CASES[name]
    with pytest.raises(BadInput, match="--outliers"):
        recipe.retrain(victim, digits.train)
    with pytest.raises(BadInput, match=r"\(3, 8, 8\)"):
        recipe.retrain(victim, digits.train, outliers=Split.of(np.zeros((9, 3, 8, 8), np.uint8), np.zeros(9)))


def test_a_diverged_training_is_refused(victim, digits):
    with pytest.raises(BadInput, match="lower"):
        NastyTeacher(weight=1e6, training=replace(TINY, learning_rate=1e9)).retrain(victim, digits.train)


def test_the_divergence_is_the_one_of_the_paper():
    """The paper's code calls KLDivLoss(log softmax of the adversary, softmax of the teacher), the mean over rows."""
    z, others = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)) * 3
    expected = F.kl_div((others / 4).log_softmax(-1), (z / 4).softmax(-1), reduction="batchmean") * 16
    torch.testing.assert_close(divergence(z, others, 4.0), expected)


def test_an_extra_class_leaves_the_logits_of_the_others_as_they_are(victim, digits):
    x = digits.train.inputs(slice(0, 50))
    wider = with_classes(victim, 11, seed=0)
    assert wider(x).shape == (50, 11)
    assert_close(wider(x)[:, :10], victim(x))
    assert victims.fingerprint(with_classes(wider, 10, seed=1)) == victims.fingerprint(victim)


def test_transition_samples_lie_between_two_classes():
    x, y = torch.arange(5.0).view(5, 1, 1, 1), torch.tensor([0, 0, 1, 2, 0])
    between, rows = transitions(x, y)
    assert between.flatten().tolist() == [1.5, 2.5, 3.5]
    assert rows.tolist() == [2, 3, 4]
    assert len(transitions(x, torch.zeros(5))[0]) == 0


def test_the_extra_class_takes_the_transition_samples(victim, digits):
    """Seen in the loss: a network with the penalty switched off learns to put midpoints into the extra class."""
    recipe = BoundaryProtection(penalty=0, training=replace(TINY, epochs=3))
    (_, record), (_, without) = (replace(recipe, weight=weight).retrain(victim, digits.train) for weight in (1.0, 0.0))
    learned = [losses[0] - losses[-1] for losses in (record["losses"], without["losses"])]
    assert learned[0] > learned[1] + 0.5


def test_clusters_that_lie_apart_are_found_and_confused_with_a_class_of_their_own_each():
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 3, (200,), generator=generator)
    points = torch.eye(3)[truth] * 20 + torch.randn(200, 3, generator=generator)
    clusters = k_means(points, 12, generator)
    assert all(len(truth[clusters == cluster].unique()) == 1 for cluster in clusters.unique())
    recipe, p = BoundaryConfusion(clusters=12), points.softmax(-1)
    labels = torch.stack([recipe.confused(p, seed) for seed in range(10)])
    assert (labels != p.argmax(-1)).all()
    assert len(labels.unique()) == 3
    assert torch.equal(labels[0], recipe.confused(p))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_network_with_convolutions_and_batch_normalisation_is_retrained(name, digits, outliers):
    recipe, model = CASES[name], Network("resnet20", (1, 8, 8), 10).build()
    inputs = Split.of(digits.train.values[:40], digits.train.labels[:40].numpy())
    new, record = recipe.retrain(model.eval(), inputs, outliers=outliers)
    assert victims.fingerprint(new) != victims.fingerprint(model)
    assert new.body[0][1].num_batches_tracked == 2  # the steps of an adversary do not count
    assert np.isfinite(record["losses"]).all()
