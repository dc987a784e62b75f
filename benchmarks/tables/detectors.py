"""Detectors of attackers who look ordinary, on CIFAR-10: queries to accusation, alone and combined.

The victim is the published ResNet-20. Half of the test images calibrates each detector, honest clients draw from the
other half, and attackers from CIFAR-100: at random, or what a published ResNet-56 is surest of. The outputs of the
victim are computed once for each set, and streams of queries are drawn from them.
"""

import functools
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.rows import Jobs, Row
from feint import data, victims
from feint.bench.artifacts import weights
from feint.data import Split
from feint.defense import bind
from feint.defenses.access import ADD, Combined, MeanDiscrepancy, SequentialTest
from feint.defenses.access.detector import EProcessDetector
from feint.defenses.access.dilution import unaccused_share
from feint.defenses.access.e_process import EProcess
from feint.defenses.feature_scores import LearnedScore, Mahalanobis
from feint.defenses.scores import Energy
from feint.export.tracing import FixedLogits
from feint.ledger import Ledger
from feint.models import networks
from feint.models.networks import Classifier
from feint.progress import ProgressCallback

SHARES = 1.0, 0.5, 0.25, 0.1, 0.05
STREAMS, LENGTH, CHUNK = 100, 10_000, 250  # clients, queries of each, and those that are drawn at once
ENERGY, UNIT, LEARNED = SequentialTest(), SequentialTest(Mahalanobis()), SequentialTest(LearnedScore())
DETECTORS: dict[str, EProcessDetector] = {
    "energy": ENERGY,
    "Mahalanobis": UNIT,
    "learned": LEARNED,
    "ADD": ADD(),
    "MeanDiscrepancy": MeanDiscrepancy(),
    "mean surprise": MeanDiscrepancy(score=Energy()),
    "energy + Mahalanobis + MeanDiscrepancy": Combined([ENERGY, UNIT, MeanDiscrepancy()]),
    "energy + Mahalanobis + learned + MeanDiscrepancy": Combined([ENERGY, UNIT, LEARNED, MeanDiscrepancy()]),
}
ATTACKS = "CIFAR-100", "10,000 by ResNet-56", "3,000 by ResNet-56"
VEHICLES = 1, 9  # automobiles and trucks, of which the victim is surest


class Known(NamedTuple):
    """What the victim returns for a set: logits (N, K) and features (N, D)."""

    z: Tensor
    features: Tensor

    def take(self, rows: Tensor) -> "Known":
        """Return the rows with these numbers."""
        return Known(self.z[rows], self.features[rows])


@functools.cache
def published(name: str) -> Classifier:
    """Return a published network on CIFAR-10."""
    return victims.load_published(weights(f"weights_cifar10_{name}.npz"), networks.get(name, data.load("cifar10")))


def outputs(split: Split) -> Known:
    """Return what the victim returns for all inputs of a split."""
    model, parts = victims.CachedForward(published("resnet20").eval()), []
    model.read_features()
    for rows in torch.arange(len(split)).split(500):
        x = split.inputs(rows)
        parts.append((victims.logits(model, x), victims.penultimate(model, x)))
    z, features = zip(*parts, strict=True)
    return Known(torch.cat(z), torch.cat(features))


@functools.cache
def sets() -> Mapping[str, Known]:
    """Return what the victim returns for honest images and for each attack's."""
    images = data.load("cifar10")
    honest, pool = outputs(images.test.share(1, 2)), outputs(images.pool)
    sure = torch.cat(
        [
            victims.logits(published("resnet56"), images.pool.inputs(rows)).logsumexp(-1)
            for rows in torch.arange(len(images.pool)).split(500)
        ]
    )
    order = sure.argsort(descending=True)
    vehicles = torch.isin(honest.z.argmax(-1), torch.tensor(VEHICLES)).nonzero()[:, 0]
    chosen = pool, pool.take(order[:10_000]), pool.take(order[:3_000])
    return {"honest": honest, "vehicles": honest.take(vehicles), **dict(zip(ATTACKS, chosen, strict=True))}


@functools.cache
def fitted(name: str) -> EProcessDetector:
    """Return a detector fitted to half of the test images; outliers are a quarter of GTSRB."""
    calibration = data.load("cifar10").test.share(0, 2)
    outliers = data.load("gtsrb").train.share(0, 4) if "learned" in name else None
    return DETECTORS[name].fit(published("resnet20"), calibration, outliers=outliers)


@functools.cache
def statistics(name: str, which: str) -> np.ndarray:
    """Return the statistics (N,) or (N, d) of a detector for a set."""
    known = sets()[which]
    score = bind(fitted(name).ranked_score, FixedLogits(known.z, known.features), Ledger())
    return score(known.z, known.z).numpy()


def jobs(progress: ProgressCallback) -> Jobs:
    """How many queries until the accusation, by attack, share and what the other queries are; how many honest."""
    for name in DETECTORS:
        yield f"honest-{name}", partial(stream, name, "honest", 1.0, "honest")
        for attack in ATTACKS:
            for share in SHARES:
                yield f"{attack}-{share}-{name}", partial(stream, name, attack, share, "honest")
            yield f"{attack}-filler-{name}", partial(stream, name, attack, 0.31, "vehicles")
    for name in ("energy", "Mahalanobis", "learned"):
        for attack in ATTACKS:
            yield f"share-{attack}-{name}", partial(least_share, name, attack)


def stream(name: str, attack: str, share: float, others: str) -> Row:
    """Return when clients with this share of attack queries are accused."""
    process, odd, even = fitted(name).process, statistics(name, attack), statistics(name, others)
    generator = np.random.default_rng(0)
    first = [_accused_after(process, odd, even, share, generator) for _ in range(STREAMS)]
    median = float(np.median(first))
    return {
        "detector": name, "attack": attack, "share": share, "others": others, "streams": STREAMS, "length": LENGTH,
        "accused": float(np.isfinite(first).mean()), "median_queries": median if np.isfinite(median) else None,
        "seed": 0,
    }  # fmt: skip


def _accused_after(
    process: EProcess, odd: np.ndarray, even: np.ndarray, share: float, generator: np.random.Generator
) -> float:
    """Return the number of queries until a client is accused; infinite where it never is."""
    state = np.zeros(process.size)
    for start in range(0, LENGTH, CHUNK):
        rows = even[generator.integers(len(even), size=CHUNK)]
        suspicious = generator.random(CHUNK) < share
        rows[suspicious] = odd[generator.integers(len(odd), size=int(suspicious.sum()))]
        values, state = process.advance(rows, state)
        over = values >= -np.log(process.alpha)
        if over.any():
            return start + int(over.argmax()) + 1
    return np.inf


def least_share(name: str, attack: str) -> Row:
    """Return the share of attack queries that is never accused, by what the other queries are."""
    test = fitted(name)
    assert isinstance(test, SequentialTest)
    odd = torch.from_numpy(statistics(name, attack))
    fillers = {"best": None} | {which: torch.from_numpy(statistics(name, which)) for which in ("vehicles", "honest")}
    shares = {which: unaccused_share(test, odd, filler) for which, filler in fillers.items()}
    return {"detector": name, "attack": attack, "unaccused_share": {which: round(s, 4) for which, s in shares.items()}}
