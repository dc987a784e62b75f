"""How long a suite takes: from rows that are there, else from how fast its surrogates train here."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from feint import data
from feint.bench.suite import Suite
from feint.errors import MissingData
from feint.evaluation.results import Cell, Results
from feint.models import networks
from feint.models.training import Training, learn

MEASURED = 256  # images, which are trained on again and again
LEAST = 0.5  # seconds of measuring


@dataclass(frozen=True)
class Estimate:
    """Seconds of one process for all cells that have no row yet, and what that rests on; None where nothing tells."""

    seconds: float | None
    rests_on: str


def estimate(suite: Suite, cells: Iterable[Cell], results: Results) -> Estimate:
    """An estimate for the thefts among `cells` that have no row in `results`."""
    thefts = [it for it in cells if it.attack]
    done = {(it.victim, it.defense, it.attack, it.budget, it.seed) for it in results if not it.error}
    left = [it for it in thefts if (it.victim, it.defense, it.attack, it.budget, it.seed) not in done]
    known = _seconds_a_query(results)
    new = [it for it in left if (it.victim, it.attack) not in known]
    seconds = sum(known[it.victim, it.attack] * it.budget for it in left if (it.victim, it.attack) in known)
    rests_on = (
        [f"{_thefts(len(left) - len(new))} from rows of the same attack that are there"] if len(left) > len(new) else []
    )
    if new:
        try:
            speeds = {victim: speed(suite, victim) for victim in dict.fromkeys(it.victim for it in new)}
        except MissingData as error:
            return Estimate(None, f"nothing: {error.args[0]}")
        seconds += sum(images(suite.training_on(it.victim), it.budget) / speeds[it.victim] for it in new)
        said = ", ".join(f"{victim}: {it:,.0f} images/s" for victim, it in speeds.items())
        rests_on.append(
            f"{_thefts(len(new))} from how fast the surrogate trains here in one thread ({said}), once for each theft: "
            "attacks in rounds, with trials, and lenses that train take longer"
        )
    return Estimate(seconds, "; ".join(rests_on) or "everything is there")


def images(training: Training, budget: int) -> int:
    """How many images a training on so many answers sees."""
    return max(training.epochs * budget, training.least_steps * min(training.batch_size, budget))


def speed(suite: Suite, victim: str) -> float:
    """Images a second that the surrogate of a victim trains on in one thread, measured for half a second or more."""
    entry = suite.victims[victim]
    images = data.load(entry.data)
    network = networks.get(entry.surrogate or entry.network, images)
    x, y = images.train.inputs(slice(MEASURED)), images.train.labels[:MEASURED]
    training, threads = (
        replace(suite.training_on(victim), epochs=1, least_steps=0, holdout=0, patience=None),
        torch.get_num_threads(),
    )
    torch.set_num_threads(1)
    try:
        learn(network, x, y, training)  # the first one also sets up
        started, rounds = time.perf_counter(), 0
        while time.perf_counter() - started < LEAST:
            learn(network, x, y, training)
            rounds += 1
        return rounds * len(x) / (time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)


def _seconds_a_query(results: Results) -> Mapping[tuple[str, str], float]:
    found: dict[tuple[str, str], list[float]] = {}
    for row in results:
        if row.attack and not row.error:
            found.setdefault((row.victim, row.attack), []).append(row.seconds / row.budget)
    return {key: sum(it) / len(it) for key, it in found.items()}


def _thefts(number: int) -> str:
    return f"{number:,} theft{'' if number == 1 else 's'}"
