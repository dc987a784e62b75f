"""Images are moved to where copies agree with a model and innocents do not; innocents are claimed no more for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.problems import LinearOn

from feint.models.networks import Network
from feint.models.training import Training, learn, train
from feint.ownership.comparison import compare
from feint.ownership.conferrable import conferred
from feint.ownership.mark import Mark
from feint.ownership.selection import Rehearsal, agreement, labels_of
from feint.ownership.triggers import OF_STUDENTS, Triggers
from feint.signature import Pixels, Tokens

MLP = Network("mlp", Pixels((1, 8, 8)), 10)
FEW = Training(epochs=10, learning_rate=0.05)
RADIUS = 32 / 255


@pytest.fixture(scope="module")
def cast(victim, digits):
    """Copies by labels and innocents; the last two of each are for the tests alone."""
    x = digits.pool.inputs()
    copies = [learn(MLP, x, labels_of(victim, x), FEW, seed=i) for i in range(1, 7)]
    return copies, [train(MLP, digits.train, training=FEW, seed=i) for i in range(11, 17)]


@pytest.fixture(scope="module", params=[Triggers(), OF_STUDENTS], ids=["plain", "of students"])
def moved(request, victim, digits, cast):
    """Blends with their labels by the victim, before and after they are moved."""
    rehearsal = Rehearsal(cast[1][:-2], cast[0][:-2])
    before, after = (
        replace(request.param, count=400, steps=steps, radius=RADIUS).mark(victim, digits.test, rehearsal)
        for steps in (0, 8)
    )
    assert np.array_equal(before.labels, after.labels)
    return before.x, torch.from_numpy(before.labels), after.x


@pytest.mark.parametrize(("rows", "least"), [(slice(-2), 0.1), (slice(-2, None), 0.0)], ids=["known", "new"])
def test_copies_and_innocents_differ_more(cast, moved, rows, least):
    copies, innocents = (models[rows] for models in cast)
    x, labels, y = moved
    before, after = ((agreement(copies, at, labels) - agreement(innocents, at, labels)).mean() for at in (x, y))
    assert after > before + least


def test_the_model_gives_every_image_its_label(victim, moved):
    _, labels, y = moved
    assert (labels_of(victim, y) == labels).all()


def test_images_stay_within_the_radius_and_on_the_grid(moved):
    x, _, y = moved
    assert (y - x).abs().max() <= RADIUS + 0.51 / 255
    changed = (y != x).flatten(1).any(1)
    assert changed.any()
    assert torch.equal(y[changed], torch.from_numpy(Pixels.quantize(y[changed].numpy())))


def test_models_that_are_sure_enough_move_nothing(victim, digits, cast):
    """A step is for the models that do not give the label yet, or that still do."""
    x = digits.test.inputs(slice(0, 60))
    labels = labels_of(victim, x)
    parts = torch.stack([model(x).softmax(-1).gather(1, labels[:, None])[:, 0] for model in (victim, *cast[0])])
    won = parts.amin(0) > 0.9
    assert won.sum() > 10
    wrong = LinearOn(digits.domain, 10).eval()
    wrong.requires_grad_(True)
    settled = Rehearsal([wrong], cast[0])
    apart = wrong(x).softmax(-1).gather(1, labels[:, None])[:, 0] < 0.1
    options = {"steps": 4, "radius": 0.1}
    still, free = (conferred(digits.domain, x, labels, victim, settled, sure=sure, **options) for sure in (0.9, 1.0))
    rows = won & apart
    assert rows.any()
    assert torch.equal(still[rows], x[rows])
    assert not torch.equal(free[rows], x[rows])


def test_without_innocents_nothing_is_moved(victim, digits, cast):
    x = digits.test.inputs(slice(0, 20))
    same = conferred(digits.domain, x, labels_of(victim, x), victim, Rehearsal((), cast[0]), steps=8, radius=0.1)
    assert torch.equal(same, x)


def test_inputs_that_are_no_images_stay():
    domain = Tokens(5, 7)
    x = torch.from_numpy(domain.sample(10, 0))
    model = LinearOn(domain, 3).eval()
    same = conferred(domain, x, labels_of(model, x), model, Rehearsal([model], [model]), steps=8, radius=0.1)
    assert torch.equal(same, x)


@pytest.mark.parametrize("references", [0, 30])
def test_a_choice_by_half_of_the_innocents_accuses_no_other(references):
    """Of 500 innocents at most 1 in 100 has an e-value of 100, whatever inputs the other half of them chose."""
    random, n, controls, suspects = np.random.default_rng(0), 600, 20, 500
    hard = random.beta(0.5, 0.5, n)  # how often innocents give an input the model's label
    skill = random.uniform(0.6, 1.0, (references + controls + suspects, 1))
    agrees = random.random((len(skill), n)) < hard * skill
    score = -agrees[:references].mean(0) if references else random.random(n)
    rows = score.argsort()[-200:]
    mark = Mark.of("triggers", Pixels((1, 1, 1)), 10, torch.zeros(len(rows), 1, 1, 1), torch.ones(len(rows)).long())
    null = {str(i): each[rows].astype(int) for i, each in enumerate(agrees[references : references + controls])}
    logs = [compare(mark, each[rows].astype(int), null).log_e for each in agrees[references + controls :]]
    assert (np.array(logs) >= np.log(100)).mean() <= 0.01
