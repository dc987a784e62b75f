"""Three victims with attackers who look ordinary: what a model of the same task finds surest, and what is changed.

The victims, their calibration and their honest clients are those of `evidence`. The outputs of a victim are computed
once for each set, and streams of queries are drawn from them.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import models
from benchmarks.tables.evidence import Setting, grey, setting_of_adult, setting_of_cifar10, setting_of_fashion
from feint import data, victims
from feint.attacks.pool.disguise import RaisedEnergy
from feint.attacks.variation import blended
from feint.bench.artifacts import weights
from feint.bench.demo import SETTINGS
from feint.data import Split
from feint.data.made_up import made_up
from feint.defense import bind
from feint.defenses.access import ADD, Combined, MeanDiscrepancy, SequentialTest
from feint.defenses.access.detector import EProcessDetector
from feint.defenses.feature_scores import LearnedScore, Mahalanobis
from feint.defenses.scores import Energy, scores
from feint.export.tracing import FixedLogits
from feint.ledger import Ledger
from feint.models import networks
from feint.models.networks import Classifier
from feint.models.perturbation import PGD
from feint.models.training import train
from feint.progress import NO_PROGRESS
from feint.signature import Domain

POOL, CHANGED = 50_000, 1000  # inputs of an attacker who has no data of the task, and those that are changed
CHOSEN = 10_000, 3_000  # of the pool, that a model of the task is surest of
ROWS = "of rows, learned"  # the detector whose score reads rows of a table, as an audit chooses it
STEPS, RADIUS, BLENDED = 10, 8 / 255, 0.4  # of gradient steps; share of an input of the task


class Known(NamedTuple):
    """What a victim returns for a set: logits (N, K), and features (N, D), of which trees have none."""

    z: Tensor
    features: Tensor

    def take(self, rows: Tensor) -> "Known":
        """Return the rows with these numbers."""
        return Known(self.z[rows], self.features[rows])


class Parts(NamedTuple):
    """The victim, calibration and inputs of honest clients; what attackers have, and what is out of place.

    Attributes:
        setting: The victim, calibration, and inputs of honest clients.
        pool: Inputs of attackers.
        proxy: Loads or trains a model of the same task that attackers have.
        outliers: Inputs that a learned score takes as out of place.
    """

    setting: Setting
    pool: Split
    proxy: Callable[[], nn.Module]
    outliers: Split


@dataclass(frozen=True, eq=False)
class Attacked:
    """A victim, and what its attackers have.

    Attributes:
        make: Loads or trains its parts, when the first one is needed.
        pool_name: Name of the attackers' pool.
        proxy_name: Name of their model.
        surest: Classes of which the victim is surest.
        surest_name: Name of these classes.
        outliers_name: Name of what is out of place.
        reads: What scores of features read: "features", or "logits" where the victim has no features.
        length: Queries of a replayed client.
    """

    make: Callable[[], Parts]
    pool_name: str
    proxy_name: str
    surest: tuple[int, ...]
    surest_name: str
    outliers_name: str
    reads: str = "features"
    length: int = 2000

    @functools.cached_property
    def parts(self) -> Parts:
        """Its parts."""
        return self.make()

    @functools.cached_property
    def proxy(self) -> nn.Module:
        """The attackers' model."""
        return self.parts.proxy()

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of attacks by inputs of the pool as they are: all, and those chosen."""
        return self.pool_name, *(f"{count:,} by {self.proxy_name}" for count in CHOSEN)

    @property
    def changes(self) -> tuple[str, ...]:
        """Names of attacks by changed inputs of the pool; steps need a model with a slope, which trees have not."""
        return ("blends", "gradient steps") if self.reads == "features" else ("blends",)

    @functools.cached_property
    def order(self) -> Tensor:
        """The rows of the pool, those that the attackers' model is surest of first."""
        z = torch.cat([victims.logits(self.proxy, self.parts.pool.inputs(rows)) for rows in _rows(self.parts.pool)])
        sure = z.logsumexp(-1) if self.reads == "features" else z.softmax(-1).amax(-1)  # the sum may say nothing
        return sure.argsort(descending=True)

    def changed(self, which: str) -> Split:
        """Return changed inputs of the pool."""
        pool, generator = self.parts.pool, torch.Generator().manual_seed(0)
        x, domain = pool.inputs(slice(0, CHANGED)), pool.domain
        if which == "blends":
            x = blended(x, self.parts.setting.honest.inputs(slice(0, CHANGED)), BLENDED, domain, generator)
        else:
            assert isinstance(self.proxy, Classifier)
            x = RaisedEnergy(PGD(2 * RADIUS / STEPS, RADIUS), STEPS).apply(x, self.proxy, generator)
        return unlabelled(x.numpy(), domain, which)

    def sent(self, which: str) -> Split:
        """Return the inputs of a set."""
        honest, pool = self.parts.setting.honest, self.parts.pool
        if which == self.surest_name:
            return honest.take(
                torch.isin(self.known("honest").z.argmax(-1), torch.tensor(self.surest)).numpy(), part=which
            )
        if which in self.attacks[1:]:
            return pool.take(self.order[: CHOSEN[self.attacks.index(which) - 1]].numpy(), part=which)
        if which in self.changes:
            return self.changed(which)
        return pool if which == self.pool_name else honest

    @functools.cache  # noqa: B019, one victim lives as long as the process
    def known(self, which: str) -> Known:
        """Return what the victim returns for a set: honest inputs, those of surest classes, or an attack's."""
        if which == self.surest_name:
            honest = self.known("honest")
            return honest.take(torch.isin(honest.z.argmax(-1), torch.tensor(self.surest)).nonzero()[:, 0])
        if which == self.pool_name:
            return outputs(self.parts.setting.victim, self.parts.pool, self.reads)
        if which in self.attacks:
            return self.known(self.pool_name).take(self.order[: CHOSEN[self.attacks.index(which) - 1]])
        sent = self.changed(which) if which in self.changes else self.parts.setting.honest
        return outputs(self.parts.setting.victim, sent, self.reads)

    @functools.cache  # noqa: B019
    def fitted(self, name: str) -> EProcessDetector:
        """Return a detector fitted to the calibration."""
        setting = self.parts.setting
        if name == "sliced":
            return setting.sliced
        if name == ROWS:
            drawn = made_up(setting.calibration, "marginals", 1)
            return SequentialTest(LearnedScore("inputs")).fit(setting.victim, setting.calibration, outliers=drawn)
        outliers = self.parts.outliers if "learned" in name else None
        return detectors(self.reads)[name].fit(
            self.parts.setting.victim, self.parts.setting.calibration, outliers=outliers
        )

    @functools.cache  # noqa: B019
    def statistics(self, name: str, which: str) -> np.ndarray:
        """Return the statistics (N,) or (N, d) of a detector for a set."""
        if name == ROWS:
            score = self.fitted(name).ranked_score
            return scores(score, self.parts.setting.victim, self.sent(which), NO_PROGRESS).numpy()
        return self.read(name, self.known(which))

    def read(self, name: str, known: Known) -> np.ndarray:
        """Return the statistics of a detector for outputs of the victim."""
        score = bind(self.fitted(name).ranked_score, FixedLogits(known.z, known.features), Ledger())
        return score(known.z, known.z).numpy()


def outputs(model: nn.Module, split: Split, reads: str = "features") -> Known:
    """Return what a model returns for all inputs of a split."""
    if reads == "logits":
        z = torch.cat([victims.logits(model, split.inputs(rows)) for rows in _rows(split)])
        return Known(z, z.new_empty(len(z), 0))
    forward, parts = victims.CachedForward(model.eval()), []
    forward.read_features()
    for rows in _rows(split):
        x = split.inputs(rows)
        parts.append((victims.logits(forward, x), victims.penultimate(forward, x)))
    z, features = zip(*parts, strict=True)
    return Known(torch.cat(z), torch.cat(features))


def detectors(reads: str) -> Mapping[str, EProcessDetector]:
    """Return the detectors that are compared, by name; `reads` is what scores of features read."""
    energy, unit = SequentialTest(), SequentialTest(Mahalanobis(reads))
    learned = SequentialTest(LearnedScore(reads))
    return {
        "energy": energy,
        "Mahalanobis": unit,
        "learned": learned,
        "ADD": ADD(on=reads),
        "MeanDiscrepancy": MeanDiscrepancy(),
        "mean surprise": MeanDiscrepancy(score=Energy()),
        "energy + Mahalanobis + MeanDiscrepancy": Combined([energy, unit, MeanDiscrepancy()]),
        "energy + Mahalanobis + learned + MeanDiscrepancy": Combined([energy, unit, learned, MeanDiscrepancy()]),
    }


def cifar10() -> Parts:
    """Return the published ResNet-20 with CIFAR-100, of which a published ResNet-56 chooses."""
    images = data.load("cifar10")
    network = networks.get("resnet56", images)
    proxy = partial(victims.load_published, weights("weights_cifar10_resnet56.npz"), network)
    return Parts(setting_of_cifar10(), images.pool, proxy, data.load("gtsrb").train.share(0, 4))


def fashion() -> Parts:
    """Return a LeNet on Fashion-MNIST with CIFAR-100 in grey, of which a second LeNet, of the same inputs, chooses."""
    images, recipe = data.load("fashion_mnist"), SETTINGS["fashion_mnist"]
    proxy = partial(train, networks.get(recipe.network, images), images.train, training=recipe.training, seed=1)
    pool = grey("cifar100@28", "train", POOL, images.domain)
    return Parts(setting_of_fashion(), pool, proxy, grey("gtsrb@28", "train", 5000, images.domain))


def adult() -> Parts:
    """Return XGBoost on Adult with rows drawn from published shares, of which logistic regression chooses."""
    images = data.load("adult")
    drawn = images.domain.sample(POOL, 0), images.domain.sample(5000, 1, published=False)
    pool, outliers = (unlabelled(x, images.domain, "drawn") for x in drawn)
    return Parts(setting_of_adult(), pool, lambda: models.victim("Adult, logistic regression")[0], outliers)


VICTIMS: Mapping[str, Attacked] = {
    "CIFAR-10": Attacked(cifar10, "CIFAR-100", "ResNet-56", (1, 9), "vehicles", "GTSRB", length=10_000),
    "Fashion-MNIST": Attacked(fashion, "CIFAR-100 in grey", "a second LeNet", (1, 8), "bags", "GTSRB in grey"),
    "Adult": Attacked(
        adult, "rows by published shares", "logistic regression", (0,), "low incomes", "rows drawn uniformly", "logits"
    ),
}


def unlabelled(x: np.ndarray, domain: Domain, name: str) -> Split:
    """Return inputs without labels as a split."""
    return Split.of(domain.encode(x), np.zeros(len(x), np.int64), domain=domain, name=name)


def _rows(split: Split) -> tuple[Tensor, ...]:
    return torch.arange(len(split)).split(500)
