"""Attackers who look ordinary against detectors, on three victims, beside the streams of `detectors`.

Gradient steps and blends change inputs; their statistics are replayed. Fillers are sent as inputs, so that near copies
count once. PRADA, SEAT and TwoSample are no e-processes, and see inputs and logits as they come.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.attacked import VICTIMS, Attacked, Known, outputs, unlabelled
from benchmarks.tables.detectors import SHARES
from benchmarks.tables.evidence import LENGTH
from benchmarks.tables.ladder import FILLERS
from benchmarks.tables.rows import Jobs, Row, prefix_of
from feint.defenses.access import PRADA, SEAT, TwoSample
from feint.evaluation.detection import accusations, first_accusation
from feint.fitting import Fittable
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Account
from feint.progress import ProgressCallback
from feint.query import Query

NAMES = "energy", "sliced", "Mahalanobis", "learned", "ADD", "energy + Mahalanobis + learned + MeanDiscrepancy"
USEFUL = 0.28  # of the queries, beside fillers
KINDS = 20  # inputs of the task, which fillers are made of
CLIENTS, CHUNK = 20, 20  # simulated at the detectors; queries sent at once
BASELINES: dict[str, Callable[[], PRADA | SEAT | TwoSample]] = {"PRADA": PRADA, "SEAT": SEAT, "TwoSample": TwoSample}
Batch = tuple[Tensor, Tensor]  # inputs and the victim's logits


def jobs(progress: ProgressCallback) -> Jobs:
    """How many queries until the accusation, by detector, attack and share."""
    for victim, attacked in VICTIMS.items():
        for name, job in of_victim(victim, attacked):
            yield prefix_of(victim) + name, job


def of_victim(victim: str, attacked: Attacked) -> Jobs:
    """Return the jobs about one victim."""
    naive, _, surest = attacked.attacks
    for name in BASELINES:
        yield f"honest-{name}", partial(watched, victim, name, naive, 0.0)
        for attack, shares in ((naive, SHARES), (surest, SHARES[:1])):
            for share in shares:
                yield f"{attack}-{share}-{name}", partial(watched, victim, name, attack, share)
    for name in NAMES:
        for which in attacked.changes:
            for share in SHARES[:3]:
                yield f"{which}-{share}-{name}", partial(replayed, victim, name, which, share)
        for filler in FILLERS:
            yield f"filler {filler}-{name}", partial(filled, victim, name, filler)
    for attack in attacked.attacks:
        for share in SHARES if attack == naive else SHARES[:1]:
            yield f"{attack}-{share}-sliced", partial(replayed, victim, "sliced", attack, share)


def replayed(victim: str, name: str, which: str, share: float) -> Row:
    """Replay clients from statistics."""
    attacked = VICTIMS[victim]
    attack, honest = (attacked.statistics(name, part) for part in (which, "honest"))
    outcome = accusations(attacked.fitted(name), attack, honest, share, clients=100, length=LENGTH)
    return {**_about(victim, name, which, share, "honest"), "streams": 100, "accused": outcome.rate,
            "median_queries": outcome.median}  # fmt: skip


def filled(victim: str, name: str, filler: str) -> Row:
    """Send inputs of the pool among copies of a few inputs of the task."""
    attacked, first = VICTIMS[victim], []
    process = attacked.fitted(name).process
    for client in range(CLIENTS):
        x, known = fill(victim, filler, client)
        statistics, account = attacked.read(name, known), Account("client")
        chunks = (slice(start, start + CHUNK) for start in range(0, LENGTH, CHUNK))
        evidence = (process.observe(statistics[at], ArrayQuery(x[at].numpy(), "client"), account) for at in chunks)
        first.append(CHUNK * first_accusation(evidence))
    row = _about(victim, name, f"{attacked.pool_name} among {filler}", USEFUL, f"{KINDS} of the task")
    return {**row, **_counted(first)}


@functools.cache
def fill(victim: str, filler: str, client: int) -> tuple[Tensor, Known]:
    """Return the inputs of a client who sends inputs of the pool among copies, and what the victim returns."""
    attacked, generator = VICTIMS[victim], torch.Generator().manual_seed(client)
    pool, domain = attacked.parts.pool, attacked.parts.pool.domain
    chosen = torch.rand(LENGTH, generator=generator) < USEFUL
    x = FILLERS[filler](attacked.parts.setting.honest.inputs(slice(0, KINDS)), LENGTH, domain, generator)
    x[chosen] = pool.inputs(torch.randperm(len(pool), generator=generator)[: int(chosen.sum())])
    return x, outputs(attacked.parts.setting.victim, unlabelled(x.numpy(), domain, filler), attacked.reads)


@functools.cache
def baseline(victim: str, name: str) -> PRADA | SEAT | TwoSample:
    """Return a detector that is no e-process, with its own settings, for the victim's inputs."""
    setting, made = VICTIMS[victim].parts.setting, BASELINES[name]()
    if isinstance(made, PRADA):
        return PRADA(domain=setting.honest.domain)
    assert isinstance(made, Fittable)
    return made.fit(setting.victim, setting.calibration)


def watched(victim: str, name: str, attack: str, share: float) -> Row:
    """Send inputs to a detector, without repeats."""
    detector, attacked = baseline(victim, name), VICTIMS[victim]
    first = []
    for client in range(CLIENTS):
        account = Account("client")
        evidence = (detector.observe(Query(x, "client"), z, account) for x, z in sent(attacked, attack, share, client))
        first.append(CHUNK * first_accusation(evidence))
    return {**_about(victim, name, attack if share else "honest", share or 1.0, "honest"), **_counted(first)}


def sent(attacked: Attacked, attack: str, share: float, client: int) -> Iterator[Batch]:
    """Yield the inputs of a client, with their logits."""
    generator, honest, pool = torch.Generator().manual_seed(client), attacked.parts.setting.honest, attacked.parts.pool
    answers, others = attacked.known("honest").z, attacked.known(attacked.pool_name).z
    order = attacked.order[: len(attacked.known(attack).z)] if attack != attacked.pool_name else torch.arange(len(pool))
    odd = order[torch.randperm(len(order), generator=generator)[:LENGTH]]
    even = torch.randperm(len(honest), generator=generator)[:LENGTH]
    chosen = torch.rand(LENGTH, generator=generator) < share
    for at in torch.arange(LENGTH).split(CHUNK):
        x, z = honest.inputs(even[at]), answers[even[at]].clone()
        x[chosen[at]], z[chosen[at]] = pool.inputs(odd[at][chosen[at]]), others[odd[at][chosen[at]]]
        yield x, z


def _about(victim: str, name: str, attack: str, share: float, others: str) -> Row:
    return {
        "victim": victim, "detector": name, "attack": attack, "share": share, "others": others, "length": LENGTH,
        "seed": 0,
    }  # fmt: skip


def _counted(first: list[float]) -> Mapping[str, float | int | None]:
    median = float(np.quantile(first, 0.5, method="lower"))
    return {
        "streams": len(first), "accused": float(np.isfinite(first).mean()), "chunk": CHUNK,
        "median_queries": median if np.isfinite(median) else None,
    }  # fmt: skip
