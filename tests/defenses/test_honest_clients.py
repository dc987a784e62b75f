"""What a ladder may do to honest clients: how often it accuses them, and what their answers are then worth."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses.access import SequentialTest
from feint.defenses.access.slices import slices
from feint.defenses.outputs import APGPClosedForm, LabelFlip, Rounding
from feint.query import Query
from feint.service import Service
from feint.signature import Column, Columns

ALPHA, CLIENTS, QUERIES = 0.05, 100, 300
DECLARED = "classes", "rounded:1", "missing:0.2"
DOMAIN = Columns((Column("score"), Column("class")))


class FirstFeature:
    """A score: the first feature, where it is not missing."""

    of_probabilities = False

    def __call__(self, x, z):
        return x[:, 0].nan_to_num(-1).double()


class TwoClasses(nn.Module):
    """The second feature decides the class."""

    def forward(self, x):
        return torch.stack([x[:, 1], -x[:, 1]], -1).nan_to_num().float()


def drawn(n: int, seed: int) -> Split:
    """Rows of which those of one class have lower scores."""
    x = np.random.default_rng(seed).normal(size=(n, 2))
    x[:, 0] -= x[:, 1] > 0
    return Split.of(x, np.zeros(n), domain=DOMAIN)


@pytest.fixture(scope="module")
def test():
    return SequentialTest(score=FirstFeature(), alpha=ALPHA, slices=DECLARED).fit(TwoClasses(), drawn(2000, 0))


def named(name):
    def one(split, generator):
        changed = next(iter(slices(name, split)))[1]
        return changed.inputs()

    return one


def one_class(split, generator):
    x = split.inputs().clone()
    flipped = x[:, 1] < 0
    x[flipped, 0] -= 1
    x[flipped, 1] *= -1
    return x


def mixed(split, generator):
    parts = torch.stack([split.inputs(), *(named(name)(split, generator) for name in DECLARED[1:])])
    return parts[torch.randint(len(parts), (len(split),), generator=generator), torch.arange(len(split))]


def in_turn(split, generator):
    parts = [split.inputs(), *(named(name)(split, generator) for name in DECLARED[1:]), one_class(split, generator)]
    return torch.cat([part[i :: len(parts)] for i, part in enumerate(parts)])


CONDITIONS = {
    "as calibrated": lambda split, generator: split.inputs(),
    "rounded": named("rounded:1"),
    "missing": named("missing:0.2"),
    "one class": one_class,
    "all mixed": mixed,
    "one after the other": in_turn,
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_honest_clients_of_every_declared_condition_are_accused_at_most_as_often_as_promised(test, condition):
    generator = torch.Generator().manual_seed(1)
    streams = [CONDITIONS[condition](drawn(QUERIES, 10 + i), generator) for i in range(CLIENTS)]
    scores = torch.stack([test.ranked_score(x, TwoClasses()(x)) for x in streams])
    accused = (test.replay(scores) >= 1).any(1).double().mean().item()
    assert accused <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / CLIENTS)


def test_without_the_slice_such_clients_would_be_accused():
    bare = SequentialTest(score=FirstFeature(), alpha=ALPHA).fit(TwoClasses(), drawn(2000, 0))
    scores = torch.stack([one_class(drawn(QUERIES, 10 + i), None)[:, 0].double() for i in range(20)])
    assert (bare.replay(scores) >= 1).any(1).double().mean() > 0.5


class AccusesEverybody:
    """A detector that is always wrong about honest clients."""

    def observe(self, query, z, account):
        return 1.0


POLICIES = {  # the harsh rung, and the share of an accused client's labels that it makes false
    "APGP": (APGPClosedForm(top=1), 0.0),
    "rounding": (Rounding(1), 0.0),
    "flips": (LabelFlip(key="of a test"), 1.0),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_false_labels_of_an_accused_honest_client_are_bounded_by_the_policy(policy):
    output, bound = POLICIES[policy]
    assert false_labels(Ladder([AccusesEverybody()], [Defense(), Defense(outputs=[output])])) == bound


@pytest.mark.parametrize("policy", POLICIES)
def test_in_shadow_no_honest_client_gets_a_false_label(policy):
    rungs = [Defense(), Defense(outputs=[POLICIES[policy][0]])]
    assert false_labels(Ladder([AccusesEverybody()], rungs, shadow=True)) == 0


def test_all_honest_clients_together_get_at_most_a_share_alpha_of_false_labels(test):
    ladder = Ladder([test], [Defense(), Defense(outputs=[LabelFlip(key="of a test")])])
    shares = [false_labels(ladder, drawn(200, 50 + i).inputs()) for i in range(20)]
    assert np.mean(shares) <= ALPHA


def false_labels(ladder, x=None):
    """The share of the labels of one honest client's answers that are not the model's."""
    x = drawn(200, 5).inputs() if x is None else x
    labels = Service(TwoClasses(), ladder)(Query(x, "honest")).p.argmax(-1)
    return (labels != TwoClasses()(x).argmax(-1)).double().mean().item()
