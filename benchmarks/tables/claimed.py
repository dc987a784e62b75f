"""Victims of the tables of claims, with their marks, their innocents, and the copies that attackers make of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from feint import data, train, victims
from feint.attacks.seeds import attacker_seed
from feint.bench.artifacts import weights
from feint.data import Dataset, Split
from feint.defense import Defense
from feint.defenses.outputs import MADArgmax, TopK
from feint.models import networks
from feint.models.networks import Classifier
from feint.models.training import Training, learn
from feint.ownership import WRK, Distilled, FineTuned, GatedCopy, Mark, Policy, Pruned, Quantized, plan_controls
from feint.ownership.controls import train_controls
from feint.ownership.rehearsal import rehearse
from feint.ownership.removals import Removal
from feint.ownership.selection import labels_of
from feint.ownership.survival import ClaimTrial
from feint.service import Service

WORK = Path("feint-bench") / "tables" / "ownership"
ANSWERS = "labels", "probabilities"
COPIES = range(6, 11)  # seeds of attackers


class Published(NamedTuple):
    """A network with published weights, in a file under FEINT_DATA."""

    network: str
    file: str

    def load(self, images: Dataset) -> Classifier:
        """Return the network with its weights. Raises `MissingData` where the file is not under FEINT_DATA."""
        return victims.load_published(weights(self.file), networks.get(self.network, images))


@dataclass(frozen=True)
class Setup:
    """Data set and network, with trainings of the victim, innocents, copies, tuned copies and marked victims.

    Attributes:
        data: Name of the data set.
        network: Network of attackers and innocents, and of a victim that is trained.
        other: Network of another architecture.
        budgets: Numbers of answers of which copies are made.
        rehearsals: Number of copies and innocents by which marks are chosen.
        victim: Training of the victim, or its published weights.
        control: Training of innocents.
        copy: Training of copies.
        tuning: Training of copies that are tuned.
        marking: Training of a victim with a mark.
        published: Innocents with published weights. Attackers copy the first as they copy the victim: these copies are
            innocents, too.
        seeds: Seeds of attackers.
        innocents: Number of innocents.
        policy: What a claim has to show.
    """

    data: str
    network: str
    other: str
    budgets: tuple[int, ...]
    rehearsals: int
    victim: Training | Published
    control: Training
    copy: Training
    tuning: Training
    marking: Training | None
    published: tuple[Published, ...] = ()
    seeds: tuple[int, ...] = tuple(COPIES)
    innocents: int = 60
    policy: Policy = Policy()

    @property
    def trial(self) -> ClaimTrial:
        return ClaimTrial(self.innocents, self.rehearsals, least=5, training=self.control, policy=self.policy)

    @property
    def images(self) -> Dataset:
        return data.load(self.data)

    @property
    def pools(self) -> tuple[str, ...]:
        """Inputs of attackers: the set's pool, and where that is of another task, inputs of the task as well."""
        return ("pool", "train") if isinstance(self.victim, Published) else ("pool",)

    @property
    def foreign(self) -> tuple[str, ...]:
        """Names of innocents that are not the owner's: published ones, and copies of these."""
        return *(each.network for each in self.published), *self.twins

    @property
    def twins(self) -> dict[str, tuple[str, int, str]]:
        """Copies of the first published innocent by name: by which answers, seed and pool of an attacker."""
        source = self.published[0].network if self.published else ""
        return {
            f"copy of {source} by {answers}{', images of the task' if pool == 'train' else ''}": (
                answers,
                100 + self.seeds[0],
                pool,
            )
            for pool in self.pools
            for answers in ANSWERS
            if source
        }


SETUPS = {
    "digits": Setup(
        "digits", "mlp", "lenet", (100, 300, 700), 8, Training(), Training(),
        Training(epochs=20, least_steps=800, batch_size=32, learning_rate=0.05),
        Training(epochs=10, batch_size=32, learning_rate=0.01), Training(epochs=150, batch_size=64),
    ),
    "fashion_mnist": Setup(
        "fashion_mnist", "lenet", "mlp", (1000, 5000, 10_000), 24,
        Training(epochs=10, learning_rate=0.05), Training(epochs=3, learning_rate=0.05),
        Training(epochs=10, least_steps=1200, batch_size=64, learning_rate=0.05),
        Training(epochs=10, batch_size=64, learning_rate=0.01), Training(epochs=10, learning_rate=0.05),
    ),
    # Trainings are short, so that all of it takes less than an hour of a core: a ResNet-9 of width 16 sees some 2,000
    # images a second, and is right on two thirds of CIFAR-10 after an epoch.
    "cifar10": Setup(
        "cifar10", "resnet9_16", "lenet", (1000, 5000, 10_000), 6,
        Published("resnet20", "weights_cifar10_resnet20.npz"),
        Training(epochs=1, batch_size=64, learning_rate=0.05, crop=4, flip=True),
        Training(epochs=1, least_steps=600, learning_rate=0.1, crop=4, flip=True, average=0.05),
        Training(epochs=1, batch_size=64, learning_rate=0.01), None,
        published=(Published("resnet56", "weights_cifar10_resnet56.npz"),), seeds=tuple(COPIES[:2]),
        innocents=32, policy=Policy(most_false=0.1),
    ),
}  # fmt: skip


def removals(setup: Setup) -> dict[str, Removal]:
    """Return what is done to a copy."""
    tuning = setup.tuning
    return {
        "last layer tuned": FineTuned("last", tuning),
        "all layers tuned": FineTuned("all", tuning),
        "new last layer": FineTuned("fresh", tuning),
        "half of the weights pruned": Pruned(0.5),
        "four fifths pruned": Pruned(0.8),
        "8 bits": Quantized(8),
        "5 bits": Quantized(5),
        "distilled to another network": Distilled(setup.other, setup.copy),
        "distilled anew": Distilled(setup.network, setup.copy),
        "WRK": WRK(training=tuning),
        "gate": GatedCopy(0.05),
    }


def trainings(setup: Setup) -> dict[str, Training]:
    """Return trainings by which an attacker may hope not to learn single wrong labels."""
    return {
        "early stop": replace(setup.copy, holdout=0.1, patience=1),
        "augmentation": replace(setup.copy, crop=2, flip=True),
    }


@cache
def victim(setup: Setup) -> Classifier:
    if isinstance(setup.victim, Published):
        return setup.victim.load(setup.images)
    return train(networks.get(setup.network, setup.images), setup.images.train, training=setup.victim)


@cache
def controls(setup: Setup) -> Mapping[str, Classifier]:
    """Return the innocents: trained ones, published ones, and copies of the first of these."""
    images, network = setup.images, networks.get(setup.network, setup.images)
    if not setup.published:
        return setup.trial.trained_controls(WORK / setup.data, network, images)
    others = {each.network: each.load(images) for each in setup.published}
    source = Service(others[setup.published[0].network])
    for name, (answers, seed, pool) in setup.twins.items():
        others[name], _ = stolen(setup, source, setup.budgets[-1], answers, seed, pool=pool)
    plans = plan_controls(setup.innocents - len(others), network, setup.control)
    other = networks.get(setup.other, images)  # an attacker's own choice may be a network that takes hours
    plans = [
        plan if plan.network == network else replace(plan, network=other, training=setup.control) for plan in plans
    ]
    trained = train_controls(WORK / setup.data, plans, images.train, images.pool)
    return others | {place.name: model for place, model in trained}


@cache
def marks(setup: Setup) -> tuple[Mark, ...]:
    images, model = setup.images, victim(setup)
    if not isinstance(setup.victim, Published):
        return setup.trial.marks(model, images)
    network = networks.get(setup.network, images)
    rehearsal = rehearse(model, images.train, images.pool, setup.rehearsals, network=network, training=setup.control)
    return setup.trial.marks(model, images, rehearsal=rehearsal)


@cache
def student_marks(setup: Setup) -> tuple[Mark, ...]:
    """Return the marks of a trained victim whose owner rehearses students of copies, too."""
    return replace(setup.trial, students=True).marks(victim(setup), setup.images)


@cache
def control_labels(setup: Setup, mark: Mark) -> Mapping[str, np.ndarray]:
    return {name: labels_of(control, mark.x).numpy() for name, control in controls(setup).items()}


def service(setup: Setup, defense: str) -> Service:
    """Return the victim behind a defense."""
    images = setup.images
    if defense == "MAD-argmax":
        fitted = Defense(outputs=[MADArgmax()]).fit(victim(setup), images.train)
        return Service(victim(setup), fitted)
    return Service(victim(setup), Defense(outputs=[TopK(1)] if defense else []))


def stolen(
    setup: Setup, source: Service, queries: int, answers: str, seed: int, network: str = "", pool: str = "pool"
) -> tuple[Classifier, Split]:
    """Return a copy, and the attacker's inputs with the labels that were stolen."""
    inputs = getattr(setup.images, pool)
    rows = np.random.default_rng(seed).permutation(len(inputs))[:queries]
    inputs = inputs.take(rows, part=f"{pool}, seed {seed}")
    p = source.oracle(client="mallory", budget=queries).ask(inputs.inputs())
    copy = trained_copy(setup, inputs.inputs(), p, answers, setup.copy, seed=seed, network=network)
    return copy, Split.of(inputs.values, p.argmax(-1).numpy(), domain=inputs.domain)


def trained_copy(
    setup: Setup, x: Tensor, p: Tensor, answers: str, training: Training, *, seed: int, network: str = ""
) -> Classifier:
    """Return a copy by the answers `p` (N, K) to `x` (N, …), or by their labels alone."""
    recipe = networks.get(network or setup.network, setup.images)
    return learn(recipe, x, p.argmax(-1) if answers == "labels" else p, training, seed=attacker_seed(seed))
