"""Line search: a linear model's parameters from labels alone, up to a factor."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.support.tables import TableVictim, made_table, random_rows, table, victim_of

from feint.attacks import HardLabels, LowdMeek
from feint.attacks.parametric.linear_parameters import classifier, parameters
from feint.data import Split
from feint.defenses.access import Budget
from feint.defenses.outputs import APGPClosedForm, GaussianNoise, LabelOnly, ReverseSigmoid
from feint.errors import BadInput
from feint.models.networks import Network
from feint.service import Defense, Service

POOL = Split.of(np.random.default_rng(0).integers(0, 256, (300, 1, 4, 4)).astype(np.uint8), np.zeros(300, np.int64))


def victim(classes=3):
    """A softmax regression with every class somewhere near the middle of the cube."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(classes, 16, generator=generator).double()
    return classifier(Network("linear", (1, 4, 4), classes), weight, -weight.sum(1) / 2)


def angle(stolen, true):
    """Between all parameters, up to a shift that the classes share and a positive factor."""
    a, b = (torch.cat([weight, bias[:, None]], 1) for weight, bias in (parameters(stolen), parameters(true)))
    a, b = a - a.mean(0), b - b.mean(0)
    return (a / a.norm() - b / b.norm()).norm().item()


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_parameters_are_found_from_labels_in_as_many_lines_as_there_are_unknowns(classes):
    true = victim(classes=classes)
    unknowns = (classes - 1) * 17 - 1
    budget = 100 + (2 * unknowns + 50) * 17  # 50 lines are searched at once
    service = Service(true, Defense(outputs=[LabelOnly()]))
    stolen = LowdMeek(POOL, Network("linear", (1, 4, 4), classes), seeds=100).steal(
        service.oracle(client="a", budget=budget)
    )
    assert angle(stolen, true) < 1e-3
    x = POOL.inputs()
    assert (stolen(x).argmax(-1) == true(x).argmax(-1)).double().mean() > 0.99


def test_few_seeds_do_not_confine_the_points():
    oracle = Service(victim()).oracle(client="a", budget=4000)
    assert angle(LowdMeek(POOL, Network("linear", (1, 4, 4), 3), seeds=9).steal(oracle), victim()) < 1e-3


def test_a_smaller_epsilon_finds_them_better():
    errors = []
    for epsilon in (1e-2, 1e-4):
        oracle = Service(victim()).oracle(client="a", budget=4000)
        attack = LowdMeek(POOL, Network("linear", (1, 4, 4), 3), epsilon=epsilon)
        errors.append(angle(attack.through(HardLabels()).steal(oracle), victim()))
    assert errors[1] < errors[0] / 10


@pytest.mark.parametrize("defense", [APGPClosedForm(top=1), ReverseSigmoid(beta=0.5, gamma=0.2)], ids=repr)
def test_a_defense_that_keeps_the_label_changes_nothing(defense):
    oracle = Service(victim(), Defense(outputs=[defense])).oracle(client="a", budget=4000)
    assert angle(LowdMeek(POOL, Network("linear", (1, 4, 4), 3)).steal(oracle), victim()) < 1e-3


def test_noisy_labels_leave_a_fit():
    service = Service(victim(), Defense(outputs=[GaussianNoise("key", scale=0.02)]))
    stolen = LowdMeek(POOL, Network("linear", (1, 4, 4), 3)).steal(service.oracle(client="a", budget=4000))
    assert angle(stolen, victim()) < 0.3
    weight, _ = parameters(stolen)
    assert weight.mean(0).norm() < 1e-6 * weight.norm()  # a shift solves all equations, and must not crowd out the rest


def test_more_points_determine_the_parameters_better():
    errors = []
    for budget in (200, 400, 2000):
        service = Service(victim(), Defense(access=[Budget(budget)]))
        oracle = service.oracle(client="a", budget=3000)
        errors.append(angle(LowdMeek(POOL, Network("linear", (1, 4, 4), 3)).steal(oracle), victim()))
        assert oracle.asked == budget
    assert errors[0] > errors[1] > 10 * errors[2]
    assert errors[0] < 1  # 1.41 is a right angle


def test_one_label_everywhere_is_the_answer():
    model = victim()
    state = model.state_dict()
    state["body.1.bias"][2] += 1e4
    oracle = Service(model).oracle(client="a", budget=500)
    stolen = LowdMeek(POOL, Network("linear", (1, 4, 4), 3)).steal(oracle)
    assert oracle.asked == 200
    assert (stolen(POOL.inputs()).argmax(-1) == 2).all()


def test_a_budget_below_the_seeds_is_refused_before_the_first_query():
    oracle = Service(victim()).oracle(client="a", budget=199)
    with pytest.raises(BadInput, match="at least 200"):
        LowdMeek(POOL, Network("linear", (1, 4, 4), 3)).steal(oracle)
    with pytest.raises(BadInput, match="surrogate takes"):
        LowdMeek(POOL, Network("linear", (1, 3, 3), 3)).steal(Service(victim()).oracle(client="a", budget=500))
    assert oracle.asked == 0


@pytest.mark.parametrize(("name", "budget"), [("german_credit", 3000), ("adult", 5000)])
def test_labels_give_the_regression_on_a_table(name, budget):
    train, test = table(name)
    true = victim_of(LogisticRegression(max_iter=1000), train, scaled=True)
    oracle = Service(true, Defense(outputs=[LabelOnly()])).oracle(client="a", budget=budget)
    stolen = LowdMeek(train, Network("linear", train.domain, 2), seeds=50).steal(oracle)
    assert oracle.asked <= budget
    for x in (test.inputs(), random_rows(train.domain)):
        assert (stolen(x).argmax(-1) == true(x).argmax(-1)).double().mean() > 0.99


def test_lines_in_a_table_keep_categories_and_end_with_neighbours():
    data = made_table(2, optional=True)

    class Rule(TableVictim):
        def forward(self, x):
            score = x[:, 1].nan_to_num(40) - 40.5 + 20 * (x[:, 2] == 1)
            return torch.stack([-score, score], 1).float()

    oracle = Service(Rule(None, data.domain)).oracle(client="a", budget=2000)
    stolen = LowdMeek(data, Network("linear", data.domain, 2), seeds=50).steal(oracle)
    x = random_rows(data.domain, missing=0.0)
    assert (stolen(x).argmax(-1) == Rule(None, data.domain)(x).argmax(-1)).double().mean() > 0.95
