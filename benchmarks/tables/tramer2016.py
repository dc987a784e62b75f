"""Tables 4, 6 and 7 and §6 of Tramèr et al. (USENIX Security 2016), on their own data.

No suite: victims are made for the attacks, and what counts is agreement on test inputs and on random ones. A victim is
trained once on the 70 % of its data that the paper trains on; the seeds are those of the attacks.
"""

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

import feint
from benchmarks.tables.rows import Jobs, Row
from benchmarks.tables.trees import PartialTree, one_hot
from benchmarks.tables.whole_tables import whole_table
from feint import data, victims
from feint.attacks import Attack, EquationSolving, HardLabels, LowdMeek, PathFinding, Retraining, TopDownPathFinding
from feint.data import Split
from feint.data.readers import divide
from feint.evaluation import metrics
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.service import Service
from feint.signature import Columns

SEEDS = range(3)
RANDOM = 10_000  # uniformly random inputs
TRAINING = Training(epochs=20, learning_rate=0.05, weight_decay=1e-4)
MOST = 1_000_000  # queries of an attack that ends by itself


class Problem(NamedTuple):
    """A victim, and the inputs that it was trained on and is judged on."""

    victim: Classifier | PartialTree
    train: Split
    test: Split
    classes: int


class Theft(NamedTuple):
    """A theft of the paper, with its queries and how often its copy agreed with the victim.

    Attributes:
        where: Table or section of the paper.
        victim: Name in `VICTIMS`.
        attack: Name in `ATTACKS`.
        queries: Queries of the paper.
        fidelity: Agreement on test inputs.
        fidelity_random: Agreement on uniformly random inputs.
        budget: Queries that the attack here may use; by default those of the paper.
    """

    where: str
    victim: str
    attack: str
    queries: int
    fidelity: float
    fidelity_random: float
    budget: int | None = None

    @property
    def name(self) -> str:
        """Name of the rows, without a seed."""
        return f"{self.where}-{self.victim}-{self.attack}-{self.queries}"


def trained(network: str, label: str) -> Problem:
    """Return a network of this name, trained on Adult with this column as the class."""
    train, test, classes = whole_table("adult", label)
    model = feint.train(Network(network, train.domain, len(classes)), train, training=TRAINING)
    return Problem(model, train, test, len(classes))


def digits() -> Problem:
    """Return a softmax regression on digits."""
    images = data.load("digits")
    model = feint.train(Network("linear", images.domain, 10), images.train, training=TRAINING)
    return Problem(model, images.train, images.test, 10)


def iris() -> Problem:
    """Return a softmax regression on Iris."""
    x, y = load_iris(return_X_y=True)
    domain = Columns.describe({f"x{i}": column.tolist() for i, column in enumerate(np.asarray(x).T)})
    parts = divide(np.asarray(x), np.asarray(y), 0.3)
    train, test = (Split.of(values, labels, domain=domain, name="iris") for values, labels in parts)
    model = feint.train(Network("linear", domain, 3), train, training=replace(TRAINING, least_steps=2000))
    return Problem(model, train, test, 3)


def grown(table: str, leaves: int, depth: int, *, optional: bool) -> Problem:
    """Return a tree of at most this size, whose clients may leave values out or not."""
    train, test, classes = whole_table(table)
    assert isinstance(train.domain, Columns)
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, max_depth=depth, random_state=0)
    tree.fit(one_hot(train.domain).fit_transform(train.values), train.labels.numpy())
    return Problem(PartialTree(tree, train, optional=optional), train, test, len(classes))


TREES = {"Steak": ("steak", 193, 17), "GSS": ("gss", 159, 8), "German credit": ("german_credit", 26, 11)}
VICTIMS: Mapping[str, Callable[[], Problem]] = {
    "Adult (income), binary regression": partial(trained, "linear", "label"),
    "Adult (race), softmax": partial(trained, "linear", "race"),
    "Adult (race), one-vs-rest": partial(trained, "one_vs_rest", "race"),
    "Adult (race), 20 hidden units": partial(trained, "mlp20", "race"),
    "Digits, softmax": digits,
    "Iris, softmax": iris,
    **{f"{name}, tree": partial(grown, *size, optional=False) for name, size in TREES.items()},
    **{f"{name}, tree, incomplete rows": partial(grown, *size, optional=True) for name, size in TREES.items()},
}
ATTACKS: Mapping[str, Callable[[Network, Split], Attack]] = {
    "EquationSolving": lambda network, _: EquationSolving(network),
    "Retraining": lambda network, _: Retraining(network, iterations=3000),
    "LowdMeek, labels only": lambda network, pool: LowdMeek(pool, network).through(HardLabels()),
    "Retraining, labels only": lambda network, _: Retraining(network, iterations=300).through(HardLabels()),
    "PathFinding": lambda network, _: PathFinding(network, epsilon=1e-3),
    "TopDownPathFinding": lambda network, _: TopDownPathFinding(network, epsilon=1e-3, stops_at_missing=True),
}
RACE = "Adult (race)"
THEFTS = (
    Theft("section 4.1", "Adult (income), binary regression", "EquationSolving", 113, 1.0, 1.0),
    Theft("table 4", f"{RACE}, softmax", "EquationSolving", 265, 0.9996, 0.9975),
    Theft("table 4", f"{RACE}, softmax", "EquationSolving", 530, 1.0, 1.0),
    Theft("table 4", f"{RACE}, one-vs-rest", "Retraining", 265, 0.9998, 0.9998),
    Theft("table 4", f"{RACE}, one-vs-rest", "Retraining", 530, 1.0, 1.0),
    Theft("table 4", f"{RACE}, 20 hidden units", "Retraining", 1112, 0.9817, 0.9432),
    Theft("table 4", f"{RACE}, 20 hidden units", "Retraining", 2225, 0.9868, 0.9723),
    Theft("table 4", f"{RACE}, 20 hidden units", "Retraining", 4450, 0.9989, 0.9982),
    Theft("table 4", f"{RACE}, 20 hidden units", "Retraining", 11_125, 0.9996, 0.9999),
    Theft("table 6", "Steak, tree", "PathFinding", 3652, 0.9245, 0.8640, MOST),
    Theft("table 6", "Steak, tree, incomplete rows", "TopDownPathFinding", 4013, 1.0, 1.0, MOST),
    Theft("table 6", "GSS, tree", "PathFinding", 7434, 0.9998, 0.9961, MOST),
    Theft("table 6", "GSS, tree, incomplete rows", "TopDownPathFinding", 2752, 1.0, 0.9965, MOST),
    Theft("table 6", "German credit, tree", "PathFinding", 1722, 1.0, 1.0, MOST),
    Theft("table 6", "German credit, tree, incomplete rows", "TopDownPathFinding", 1150, 1.0, 1.0, MOST),
    Theft("table 7", "Digits, softmax", "EquationSolving", 650, 1.0, 1.0),
    Theft("table 7", "Iris, softmax", "EquationSolving", 644, 1.0, 1.0, 15),
    Theft("section 6", "Adult (income), binary regression", "LowdMeek, labels only", 5650, 0.99, 0.99),
    Theft("section 6", f"{RACE}, softmax", "LowdMeek, labels only", 26_000, 0.999, 0.999),
    Theft("section 6", "Digits, softmax", "LowdMeek, labels only", 65_000, 0.999, 0.999),
    Theft("section 6", f"{RACE}, 20 hidden units", "Retraining, labels only", 100_000, 0.9916, 0.9824),
)


@functools.cache
def problem(name: str) -> Problem:
    """Return the victim of this name."""
    return VICTIMS[name]()


def jobs(progress: ProgressCallback) -> Jobs:
    """Each theft of the paper, with three seeds."""
    for entry in THEFTS:
        for seed in SEEDS:
            yield f"{entry.name}-{seed}", partial(theft, entry, seed, progress)


def theft(entry: Theft, seed: int, progress: ProgressCallback) -> Row:
    """Run the attack, and measure how often copy and victim agree."""
    victim, train, test, classes = problem(entry.victim)
    network = victim.network if isinstance(victim, Classifier) else Network("tree", victim.domain, classes)
    attack = ATTACKS[entry.attack](network, train)
    oracle = Service(victim).oracle(client="attacker", budget=entry.budget or entry.queries)
    began = time.perf_counter()
    stolen = attack.steal(oracle, seed=seed, progress=progress)
    row: Row = {"victim": entry.victim, "attack": entry.attack, "seed": seed, "asked": oracle.asked}
    row["seconds"] = round(time.perf_counter() - began, 2)
    random = torch.from_numpy(train.domain.sample(RANDOM, 9, published=False))
    for key, x in (("", test.inputs()), ("_random", random)):
        copy, true = (torch.cat([victims.predict(it, part) for part in x.split(500)]) for it in (stolen, victim))
        row |= {f"fidelity{key}": metrics.label_kept(copy, true), f"n{key or '_test'}": len(x)}
        row[f"variation{key}"] = 0.5 * metrics.l1(copy.double(), true.double())
    row["victim_accuracy"] = metrics.accuracy(victims.answers(victim, test), test.labels)
    if isinstance(victim, PartialTree):
        row |= {"leaves": victim.leaves, "identities": victim.identities}
    return row
