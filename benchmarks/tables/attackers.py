"""Attackers who look ordinary against detectors, on CIFAR-10, beside the streams of `detectors`.

Gradient steps and blends change images; their statistics are replayed. Fillers are sent as images, so that near copies
count once. PRADA, SEAT and TwoSample are no e-processes, and see images and logits as they come.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.detectors import ATTACKS, SHARES, fitted, published, sets
from benchmarks.tables.evidence import LENGTH, setting_of_cifar10
from benchmarks.tables.ladder import FILLERS
from benchmarks.tables.rows import Jobs, Row
from feint import data, victims
from feint.attacks.pool.disguise import RaisedEnergy
from feint.defense import bind
from feint.defenses.access import PRADA, SEAT, TwoSample
from feint.defenses.access.detector import EProcessDetector
from feint.evaluation.detection import accusations
from feint.fitting import Fittable
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Account, Ledger
from feint.models.perturbation import PGD
from feint.progress import ProgressCallback
from feint.query import Query
from feint.victims import CachedForward, logits

NAMES = "energy", "sliced", "Mahalanobis", "learned", "ADD", "energy + Mahalanobis + learned + MeanDiscrepancy"
CHANGED = 1000  # images that an attacker changes
STEPS, RADIUS = 10, 8 / 255  # of gradient steps
BLENDED = 0.4  # of an image of the task
USEFUL = 0.28  # of the queries, beside fillers
IMAGES = 20  # of the task, which fillers are made of
CLIENTS, CHUNK = 20, 20  # simulated at the detectors; queries sent at once
BASELINES: dict[str, Callable[[], PRADA | SEAT | TwoSample]] = {"PRADA": PRADA, "SEAT": SEAT, "TwoSample": TwoSample}
Batch = tuple[Tensor, Tensor]  # images and the victim's logits


def detector(name: str) -> EProcessDetector:
    """Return a detector of the table, or the sequential test with slices."""
    return setting_of_cifar10().sliced if name == "sliced" else fitted(name)


@functools.cache
def statistics(name: str, which: str) -> np.ndarray:
    """Return a detector's statistics of changed images, or of honest ones."""
    x = images(which) if which != "honest" else setting_of_cifar10().honest.inputs()
    return computed(name, x)


def computed(name: str, x: Tensor) -> np.ndarray:
    """Return a detector's statistics (N,) or (N, d) of images."""
    model = CachedForward(published("resnet20").eval())
    score = bind(detector(name).ranked_score, model, Ledger())
    return torch.cat([score(part, logits(model, part)) for part in x.split(500)]).numpy()


@functools.cache
def images(which: str) -> Tensor:
    """Return images of CIFAR-100 after gradient steps, or blended with images of the task."""
    x = data.load("cifar10").pool.inputs(slice(0, CHANGED))
    if which == "blends":
        return (1 - BLENDED) * x + BLENDED * setting_of_cifar10().honest.inputs(slice(0, CHANGED))
    steps = RaisedEnergy(PGD(2 * RADIUS / STEPS, RADIUS), STEPS)
    return steps.apply(x, published("resnet56"), torch.Generator())


def jobs(progress: ProgressCallback) -> Jobs:
    """How many queries until the accusation, by detector, attack and share."""
    for name in NAMES:
        for which in ("blends", "gradient steps"):
            for share in SHARES[:3]:
                yield f"{which}-{share}-{name}", partial(replayed, name, which, share)
        for filler in FILLERS:
            yield f"filler {filler}-{name}", partial(filled, name, filler)
    for attack in ATTACKS:
        for share in SHARES if attack == ATTACKS[0] else SHARES[:1]:
            yield f"{attack}-{share}-sliced", partial(replayed, "sliced", attack, share)
    for name in BASELINES:
        yield f"honest-{name}", partial(watched, name, ATTACKS[0], 0.0)
        for attack in (ATTACKS[0], ATTACKS[2]):
            for share in SHARES if attack == ATTACKS[0] else SHARES[:1]:
                yield f"{attack}-{share}-{name}", partial(watched, name, attack, share)


def replayed(name: str, which: str, share: float) -> Row:
    """Replay clients from statistics."""
    if which in ATTACKS:  # the energy, and so its rank within a class, reads logits alone
        z = sets()[which].z
        attack = detector(name).ranked_score(z, z).numpy()
    else:
        attack = statistics(name, which)
    outcome = accusations(detector(name), attack, statistics(name, "honest"), share, clients=100, length=LENGTH)
    return {**_about(name, which, share, "honest"), "streams": 100, "accused": outcome.rate,
            "median_queries": outcome.median}  # fmt: skip


def filled(name: str, filler: str) -> Row:
    """Send images of CIFAR-100 among copies of a few images of the task."""
    process, pool, first = detector(name).process, data.load("cifar10").pool, []
    ordinary = setting_of_cifar10().honest.inputs(slice(0, IMAGES))
    for client in range(CLIENTS):
        generator, account = torch.Generator().manual_seed(client), Account("client")
        chosen = torch.rand(LENGTH, generator=generator) < USEFUL
        x = FILLERS[filler](ordinary, LENGTH, pool.domain, generator)
        x[chosen] = pool.inputs(torch.randperm(len(pool), generator=generator)[: int(chosen.sum())])
        s = computed(name, x)
        chunks = (slice(start, start + CHUNK) for start in range(0, LENGTH, CHUNK))
        evidence = (process.observe(s[at], ArrayQuery(x[at].numpy(), "client"), account) for at in chunks)
        first.append(first_over(evidence))
    return {**_about(name, f"CIFAR-100 among {filler}", USEFUL, f"{IMAGES} images"), **_counted(first)}


@functools.cache
def baseline(name: str) -> PRADA | SEAT | TwoSample:
    """Return a detector that is no e-process, with its own settings."""
    setting = setting_of_cifar10()
    made = BASELINES[name]()
    return made.fit(setting.victim, setting.calibration) if isinstance(made, Fittable) else made


def watched(name: str, attack: str, share: float) -> Row:
    """Send images to a detector, without repeats."""
    first = [
        first_over(baseline(name).observe(Query(x, "client"), z, account) for x, z in sent(attack, share, client))
        for client, account in ((client, Account("client")) for client in range(CLIENTS))
    ]
    return {**_about(name, attack if share else "honest", share or 1.0, "honest"), **_counted(first)}


def sent(attack: str, share: float, client: int) -> Iterator[Batch]:
    """Yield the images of a client, with their logits."""
    generator, honest = torch.Generator().manual_seed(client), setting_of_cifar10().honest
    pool, order = data.load("cifar10").pool, torch.arange(len(data.load("cifar10").pool))
    if attack != ATTACKS[0]:
        order = surest()[: 3000 if attack == ATTACKS[2] else 10_000]
    odd = order[torch.randperm(len(order), generator=generator)[:LENGTH]]
    even = torch.randperm(len(honest), generator=generator)[:LENGTH]
    chosen = torch.rand(LENGTH, generator=generator) < share
    for at in torch.arange(LENGTH).split(CHUNK):
        x, z = honest.inputs(even[at]), sets()["honest"].z[even[at]].clone()
        x[chosen[at]], z[chosen[at]] = pool.inputs(odd[at][chosen[at]]), sets()[ATTACKS[0]].z[odd[at][chosen[at]]]
        yield x, z


@functools.cache
def surest() -> Tensor:
    """Return the rows of the pool in the order of a ResNet-56's energy score, the surest first."""
    pool = data.load("cifar10").pool
    scores = [
        victims.logits(published("resnet56"), pool.inputs(rows)).logsumexp(-1)
        for rows in torch.arange(len(pool)).split(500)
    ]
    return torch.cat(scores).argsort(descending=True)


def first_over(evidence: Iterator[float]) -> float:
    """Return the number of queries after the chunk at which evidence is 1 or more; infinite for none."""
    return next((float((i + 1) * CHUNK) for i, value in enumerate(evidence) if value >= 1), np.inf)


def _about(name: str, attack: str, share: float, others: str) -> Row:
    return {"detector": name, "attack": attack, "share": share, "others": others, "length": LENGTH, "seed": 0}


def _counted(first: list[float]) -> Mapping[str, float | int | None]:
    median = float(np.quantile(first, 0.5, method="lower"))
    return {
        "streams": len(first), "accused": float(np.isfinite(first).mean()), "chunk": CHUNK,
        "median_queries": median if np.isfinite(median) else None,
    }  # fmt: skip
