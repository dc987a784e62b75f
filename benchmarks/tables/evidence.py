"""The sequential test on three victims: how soon it accuses, and whom it never should.

No suite: streams of queries are drawn from scores, thousands of clients at once, and honest clients steal nothing.

Half of the test inputs calibrate the test, and honest clients draw from the other half. What attackers ask is CIFAR-100
against the published ResNet-20 on CIFAR-10, CIFAR-100 in grey against LeNet on Fashion-MNIST, whose own pool are images
of the task, and rows drawn from the columns' published means and shares against XGBoost on Adult.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import models
from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import data, victims
from feint.audit.attacker import first_asked
from feint.audit.candidates import Candidate
from feint.audit.promise import promise
from feint.audit.promise_text import to_json
from feint.audit.samples import Samples
from feint.bench.demo import SETTINGS
from feint.data import Split
from feint.data.pools import parse_split
from feint.defense import Defense, Ladder
from feint.defenses.access import Refuse, SequentialTest
from feint.defenses.access.dilution import unaccused_share
from feint.defenses.access.slices import CLASSES, slices
from feint.defenses.feature_scores import LearnedScore
from feint.defenses.scores import scores
from feint.evaluation.detection import Accusations, accusations
from feint.models import networks
from feint.models.training import train
from feint.progress import ProgressCallback
from feint.signature import Domain

SHARES = 1.0, 0.5, 0.25, 0.1, 0.05
ALPHAS = 1e-3, 1e-4
ATTACK_INPUTS = 5000
LENGTH = 2000  # queries of a client
STREAMS, CLIENTS = 200, 1000  # attackers, or clients who drifted; clients of the promise
IMAGES = CLASSES, "jpeg", "scale", "noise", "shift"
DRIFTS = {
    "image": ("jpeg:95", "jpeg:90", "scale:0.875", "noise:0.02", "brightness:0.9", "brightness:0.7", "shift:2"),
    "table": ("rounded:2", "missing:0.1"),
}


@dataclass(frozen=True, eq=False)
class Setting:
    """The victim, and who draws from what: the scores of a set are computed once.

    Attributes:
        victim: The model.
        images: Its data set.
        pool: Inputs of attackers.
        slices: Slices that the owner declares, where any are.
        drifts: Changes of honest inputs.
    """

    victim: nn.Module
    images: data.Dataset
    pool: Split
    slices: tuple[str, ...]
    drifts: tuple[str, ...]

    @functools.cached_property
    def calibration(self) -> Split:
        """Half of the test inputs, to which the test is fitted."""
        return self.images.test.share(0, 2)

    @functools.cached_property
    def honest(self) -> Split:
        """The other half, of honest clients."""
        return self.images.test.share(1, 2)

    @functools.cached_property
    def plain(self) -> SequentialTest:
        """The test without slices."""
        return SequentialTest().fit(self.victim, self.calibration)

    @functools.cached_property
    def sliced(self) -> SequentialTest:
        """The test with the owner's slices."""
        return SequentialTest(slices=self.slices).fit(self.victim, self.calibration)

    @functools.cache  # noqa: B019, one setting lives as long as the process
    def scores(self, test: str, drift: str = "") -> np.ndarray:
        """Return the scores of honest inputs that drifted, or of the pool, as a test ranks them."""
        return getattr(self, test).ranked_score(*self.answered(drift)).numpy()

    @functools.cache  # noqa: B019
    def answered(self, drift: str) -> tuple[Tensor, Tensor]:
        """Return these inputs with their logits."""
        split = self.pool if drift == "pool" else self.honest
        changed = split if drift in ("", "pool") else next(iter(slices(drift, split)))[1]
        x = changed.inputs()
        return x, torch.cat([victims.logits(self.victim, part) for part in x.split(500)])


@functools.cache
def setting_of_cifar10() -> Setting:
    """Return the published victim."""
    images = data.load("cifar10")
    pool = images.pool.take(slice(0, ATTACK_INPUTS), part="first 5,000")
    return Setting(published_resnet20(), images, pool, IMAGES, DRIFTS["image"])


@functools.cache
def setting_of_fashion() -> Setting:
    """Return a LeNet that is trained by the recipe of the demo."""
    images, recipe = data.load("fashion_mnist"), SETTINGS["fashion_mnist"]
    victim = train(networks.get(recipe.network, images), images.train, training=recipe.training)
    pool = grey("cifar100@28", "test", ATTACK_INPUTS, images.domain)
    return Setting(victim, images, pool, IMAGES, DRIFTS["image"])


def grey(name: str, part: str, count: int, domain: Domain) -> Split:
    """Return the first images of a part of a set of coloured ones, in grey."""
    x = getattr(data.load(name), part).inputs(slice(0, count)).mean(1, keepdim=True).numpy()
    labels = np.zeros(len(x), np.int64)
    return Split.of(domain.encode(x), labels, domain=domain, name=name, part=f"{part}, grey, first {count:,}")


@functools.cache
def setting_of_adult() -> Setting:
    """Return an XGBoost classifier, whose attacker has no rows."""
    victim, images = models.victim("Adult, XGBoost")
    drawn = images.domain.encode(images.domain.sample(ATTACK_INPUTS, 0))
    pool = Split.of(drawn, np.zeros(len(drawn), np.int64), domain=images.domain, name="adult", part="marginals")
    return Setting(victim, images, pool, (CLASSES, "rounded", "missing"), DRIFTS["table"])


VICTIMS: dict[str, tuple[Callable[[], Setting], tuple[str, ...]]] = {
    "CIFAR-10": (setting_of_cifar10, DRIFTS["image"]),
    "Fashion-MNIST": (setting_of_fashion, DRIFTS["image"]),
    "Adult": (setting_of_adult, DRIFTS["table"]),
}
TESTS = {"plain": "no", "sliced": "yes"}
OUTLIERS = "cifar100/test", "gtsrb/train:0/4"  # of which the pool of CIFAR-10's attackers, cifar100/train, has none


def streams(progress: ProgressCallback) -> Jobs:
    """How many queries until the accusation, by the share of attack queries; how many honest clients are accused."""
    for name, (setting, drifts) in VICTIMS.items():
        for test in TESTS:
            for alpha in ALPHAS:
                for share in SHARES:
                    yield f"delay-{name}-{test}-{alpha}-{share}", partial(delay, name, setting, test, alpha, share)
            for drift in ("", *drifts):
                yield f"honest-{name}-{test}-{drift or 'as they are'}", partial(honest, name, setting, test, drift)


def promises(progress: ProgressCallback) -> Jobs:
    """What an audit would say that the owner of each victim may promise."""
    for name, (setting, _) in VICTIMS.items():
        yield f"promise-{name}", partial(promised, name, setting, progress)
    for outliers in OUTLIERS:
        yield f"outliers-{outliers.partition('/')[0]}", partial(promised_with, outliers, progress)


def promised(name: str, make: Callable[[], Setting], progress: ProgressCallback) -> Row:
    setting = make()
    samples = Samples(setting.calibration, setting.honest, setting.pool, (), ())
    return {"victim": name, "seed": 0, **to_json(promise(setting.victim, samples, {}, progress))}


def promised_with(outliers: str, progress: ProgressCallback) -> Row:
    """Return what an audit would say of CIFAR-10 where the owner's test has learned from images of something else."""
    setting = setting_of_cifar10()
    test = SequentialTest(LearnedScore()).fit(setting.victim, setting.calibration, outliers=parse_split(outliers))
    ladder = Candidate("ladder", "ladder", Ladder([test], [Defense(), Defense(access=[Refuse()])]))
    samples = Samples(setting.calibration, setting.honest, setting.pool, (), ())
    known = promise(setting.victim, samples, {"ladder": ladder}, progress)
    odd = scores(test.ranked_score, setting.victim, first_asked(setting.pool), progress)
    share = round(unaccused_share(test, odd), 4)
    return {"victim": "CIFAR-10", "outliers": outliers, "share_for_who_knows": share, "seed": 0, **to_json(known)}


def delay(name: str, make: Callable[[], Setting], test: str, alpha: float, share: float) -> Row:
    setting = make()
    detector = replace(getattr(setting, test), alpha=alpha)
    outcome = accusations(
        detector, setting.scores(test, "pool"), setting.scores(test), share, clients=STREAMS, length=LENGTH
    )
    return {**_about(name, setting, test, alpha), "share": share, **_outcome(outcome)}


def honest(name: str, make: Callable[[], Setting], test: str, drift: str) -> Row:
    setting = make()
    detector, sent = getattr(setting, test), setting.scores(test, drift)
    outcome = accusations(detector, sent, sent, 0.0, clients=STREAMS if drift else CLIENTS, length=LENGTH)
    return {**_about(name, setting, test, detector.alpha), "drift": drift, **_outcome(outcome), "bound": outcome.bound}


def _about(name: str, setting: Setting, test: str, alpha: float) -> Row:
    declared = list(setting.slices) if test == "sliced" else []
    return {"victim": name, "slices": declared, "alpha": alpha, "n": len(setting.calibration), "seed": 0}


def _outcome(outcome: Accusations) -> Row:
    """Return what a row has of simulated clients."""
    finite = torch.from_numpy(outcome.first)[np.isfinite(outcome.first)]
    late = finite.quantile(0.95).item() if len(finite) > 0.95 * len(outcome.first) else None
    return {
        "streams": len(outcome.first), "length": outcome.length, "accused": outcome.rate,
        "median_queries": outcome.median, "late_queries": late,
    }  # fmt: skip
