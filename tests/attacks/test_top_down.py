"""Path finding by incomplete queries, on models that stop at a missing value and on those that go on."""

from dataclasses import replace

import pytest
import torch
from benchmarks.tables.trees import PartialTree
from tests.support.tables import made_table, noisy_tree, random_rows, table, victim_of

from feint.attacks import HardLabels, PathFinding, TopDownPathFinding
from feint.defenses.access import Budget
from feint.errors import BadInput
from feint.models.networks import Network
from feint.service import Defense, Service
from feint.signature import Columns


def disagreement(stolen, victim, x):
    return ((stolen(x).softmax(-1) - victim(x).softmax(-1)).abs().amax(1) > 1e-5).double().mean()


@pytest.mark.parametrize("leaves", [2, 8, 30])
def test_missing_values_that_go_on_along_a_branch(leaves):
    data = made_table(optional=True)
    victim, network = victim_of(noisy_tree(data, leaves), data), Network("tree", data.domain, 3)
    oracle = Service(victim).oracle(client="a", budget=5000)
    stolen = TopDownPathFinding(network).steal(oracle)
    assert disagreement(stolen, victim, data.inputs()) < 2e-4 * leaves  # rows within epsilon of a threshold
    complete = Service(victim).oracle(client="a", budget=5000)
    PathFinding(network).steal(complete)
    assert oracle.asked < complete.asked


@pytest.mark.parametrize("stops", [False, True])
def test_german_credit_takes_fewer_queries_where_values_can_be_left_out(stops):
    train, test = table("german_credit")
    victim = PartialTree(noisy_tree(train, 26, least=8), train)
    oracle = Service(victim).oracle(client="a", budget=5000)
    stolen = TopDownPathFinding(Network("tree", victim.domain, 2), stops_at_missing=stops).steal(oracle)
    for x in (test.inputs(), random_rows(victim.domain), random_rows(victim.domain, missing=0.3)):
        assert disagreement(stolen, victim, x) == 0
    assert oracle.asked < (1200 if stops else 3000)  # 1,089 and 2,675; the paper 1,150; whole rows 1,673


def test_columns_that_cannot_be_left_out_are_searched_as_well():
    data = made_table(optional=True)
    columns = data.domain.columns  # pyright: ignore[reportAttributeAccessIssue]
    domain = Columns((columns[0], replace(columns[1], optional=False), *columns[2:]))
    victim = victim_of(noisy_tree(data, 8), data)
    victim.domain = domain
    stolen = TopDownPathFinding(Network("tree", domain, 3)).steal(Service(victim).oracle(client="a", budget=5000))
    x = torch.from_numpy(domain.sample(3000, 5))
    assert disagreement(stolen, victim, x) < 2e-3


@pytest.mark.parametrize("budget", [1, 2, 7, 30, 90])
def test_a_refusal_anywhere_leaves_a_tree(budget):
    data = made_table(optional=True)
    service = Service(victim_of(noisy_tree(data, 8), data), Defense(access=[Budget(budget)]))
    oracle = service.oracle(client="a", budget=1000)
    stolen = TopDownPathFinding(Network("tree", data.domain, 3)).steal(oracle)
    assert oracle.asked == budget
    assert stolen(data.inputs()).isfinite().all()


def test_whole_rows_and_labels_are_left_to_others():
    whole, optional = made_table(), made_table(optional=True)
    for data, lenses, named in ((whole, (), "PathFinding"), (optional, (HardLabels(),), "LabelPathFinding")):
        oracle = Service(victim_of(noisy_tree(data, 4), data)).oracle(client="a", budget=100)
        with pytest.raises(BadInput, match=f"{named}"):
            TopDownPathFinding(Network("tree", data.domain, 3)).through(*lenses).steal(oracle)
        assert oracle.asked <= 1
