"""What a ladder may do to honest clients: how often it accuses them, and what their answers are then worth."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses.access import SequentialTest
from feint.defenses.access.slices import CHANGES, slices
from feint.defenses.outputs import APGPClosedForm, LabelFlip, Rounding
from feint.fitting import FitContext
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Account
from feint.query import Query
from feint.service import Service
from feint.signature import Column, Columns, Pixels, Text

ALPHA, CLIENTS, QUERIES = 0.05, 100, 300
DECLARED = "classes", "rounded:1", "missing:0.2", "rounded:1+missing:0.2", "constant:class"
FILE = "camera.npz"
DOMAIN = Columns((Column("score", optional=True), Column("class")))  # or nothing would be missing


class FirstFeature:
    """A score: the first feature, where it is not missing."""

    of_probabilities = False

    def __call__(self, x, z):
        return x[:, 0].nan_to_num(-4).double()


class TwoClasses(nn.Module):
    """The second feature decides the class."""

    def forward(self, x):
        return torch.stack([x[:, 1], -x[:, 1]], -1).nan_to_num().float()


def drawn(n: int, seed: int) -> Split:
    """Rows of which those of one class have lower scores."""
    x = np.random.default_rng(seed).normal(size=(n, 2))
    x[:, 0] -= x[:, 1] > 0
    return Split.of(x, np.zeros(n), domain=DOMAIN)


def lower(split):
    """What another camera makes of rows."""
    return split.inputs() - torch.tensor([1.0, 0.0])


@pytest.fixture(scope="module")
def test():
    read = {FILE: Split.of(lower(drawn(1000, 1)).numpy(), np.zeros(1000), domain=DOMAIN)}
    declared = SequentialTest(score=FirstFeature(), alpha=ALPHA, slices=(*DECLARED, FILE))
    return declared.fit_from(FitContext(TwoClasses(), drawn(2000, 0), slices=read))


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
    parts = torch.stack([split.inputs(), lower(split), *(named(name)(split, generator) for name in DECLARED[1:])])
    return parts[torch.randint(len(parts), (len(split),), generator=generator), torch.arange(len(split))]


def in_turn(split, generator):
    parts = [*(named(name)(split, generator) for name in DECLARED[1:]), one_class(split, generator), lower(split)]
    return torch.cat([part[i :: len(parts)] for i, part in enumerate(parts)])


CONDITIONS = {
    "as calibrated": lambda split, generator: split.inputs(),
    **{name: named(name) for name in DECLARED[1:]},
    "a file": lambda split, generator: lower(split),
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


@pytest.mark.parametrize("condition", ["a file", "missing:0.2", "one class"])
def test_without_the_slice_such_clients_would_be_accused(condition):
    bare, generator = SequentialTest(score=FirstFeature(), alpha=ALPHA).fit(TwoClasses(), drawn(2000, 0)), None
    streams = [CONDITIONS[condition](drawn(QUERIES, 10 + i), generator) for i in range(20)]
    scores = torch.stack([FirstFeature()(x, None) for x in streams])
    assert (bare.replay(scores) >= 1).any(1).double().mean() > 0.5


def test_who_sends_each_query_three_times_is_accused_no_more_often_than_who_sends_it_once(test):
    """Near copies count once: nothing is promised for queries that depend on each other but for these."""
    for seed in range(10):
        x = drawn(100, 900 + seed).inputs()
        statistics = test.ranked_score(x, TwoClasses()(x)).numpy()
        query, account = ArrayQuery(x.numpy().repeat(3, 0), "honest"), Account("honest")
        query.near = np.random.default_rng(seed).integers(2**63, size=100).astype(np.uint64).repeat(3)
        evidence = test.process.observe(statistics.repeat(3), query, account)
        once = test.replay(torch.from_numpy(statistics[None])).amax().item()
        assert evidence == pytest.approx(max(once, 0), abs=1e-3)


class Told:
    """A score: how little an input is like those of a slice, as far as a least-squares fit of random features can tell.

    The worst case of a score for that slice: without a price its clients are accused.
    """

    of_probabilities = False

    def __init__(self, own, changed):
        generator = np.random.default_rng(0)
        width = len(self.flat(own)[0])
        self.first = torch.from_numpy(generator.normal(size=(width, 200)) / math.sqrt(width))
        rows = torch.cat([self.hidden(own), self.hidden(changed)])
        labels = torch.cat([torch.ones(len(own)), torch.zeros(len(changed))]).double()
        penalty = 1e-3 * len(rows) * torch.eye(rows.shape[1], dtype=torch.float64)
        self.second = torch.linalg.solve(rows.T @ rows + penalty, rows.T @ labels)

    def flat(self, x):
        x = x.flatten(1).double()
        return torch.cat([x.nan_to_num(-2), x.isnan()], 1) / max(1, x.nan_to_num().abs().max() / 100)

    def hidden(self, x):
        return torch.cat([torch.relu(self.flat(x) @ self.first), self.flat(x), torch.ones(len(x), 1)], 1)

    def __call__(self, x, z):
        return self.hidden(x) @ self.second


class BySum(nn.Module):
    """Two classes, by the sum of an input's numbers."""

    def forward(self, x):
        total = x.flatten(1).double().nan_to_num().sum(1)
        return torch.stack([total, -total], 1).float() / 100


def pictures(n, generator):
    """Coloured images of a bright square somewhere, with texture: every change of images shows in them."""
    x = generator.uniform(0, 0.3, size=(n, 3, 12, 12)).astype(np.float32)
    for image, (row, column) in zip(x, generator.integers(0, 6, (n, 2)), strict=True):
        image[:, row : row + 5, column : column + 5] += generator.uniform(0.2, 0.7, (3, 1, 1)).astype(np.float32)
    return Split.of(np.rint(255 * x).astype(np.uint8), np.zeros(n, int))


def table(n, generator):
    x = generator.normal(size=(n, 3)) * [1, 20, 3000]
    return Split.of(x, np.zeros(n, int), domain=Columns(tuple(Column(name, optional=True) for name in "abc")))


def letters(n, generator):
    domain = Text(24)
    words = ["".join(generator.choice([*"aBcDeF gH"], generator.integers(8, 24))) for _ in range(n)]
    return Split.of(domain.encode(domain.from_strings(words)), np.zeros(n, int), domain=domain)


MADE = {Pixels: pictures, Columns: table, Text: letters}
SLICES = [(kind, name) for kind, changes in CHANGES.items() for name in changes]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), SLICES, ids=[name for _, name in SLICES])
def test_clients_of_every_kind_of_slice_are_accused_at_most_as_often_as_promised(kind, name):
    """Each kind that there is in `CHANGES`, by a score that has learned to tell it apart."""
    own, new, others = (MADE[kind](n, np.random.default_rng(n)) for n in (1600, 1500, 1000))
    changed = torch.cat([part.inputs() for _, part in slices(name, others)])
    test = SequentialTest(score=Told(others.inputs(), changed), alpha=ALPHA, slices=(name,)).fit(BySum(), own)
    generator = torch.Generator().manual_seed(2)
    for _, part in slices(name, new):
        sent = test.ranked_score(part.inputs(), torch.zeros(len(part), 2))
        streams = sent[torch.randint(len(sent), (CLIENTS, QUERIES), generator=generator)]
        accused = (test.replay(streams) >= 1).any(1).double().mean().item()
        assert accused <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / CLIENTS)


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
