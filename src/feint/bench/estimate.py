"""How long a suite takes: from rows that are there, else from how fast its surrogates train here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from feint import data
from feint.bench.suite import Suite
from feint.errors import MissingData
from feint.evaluation.results import Cell, Results
from feint.evaluation.training_time import MEASURED, images_seen, seconds_per_image
from feint.models import networks


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
        seconds += sum(images_seen(suite.training_on(it.victim), it.budget) / speeds[it.victim] for it in new)
        said = ", ".join(f"{victim}: {it:,.0f} images/s" for victim, it in speeds.items())
        rests_on.append(
            f"{_thefts(len(new))} from how fast the surrogate trains here in one thread ({said}), once for each theft: "
            "attacks in rounds, with trials, and lenses that train take longer"
        )
    return Estimate(seconds, "; ".join(rests_on) or "everything is there")


def speed(suite: Suite, victim: str) -> float:
    """Return how many images a second the surrogate of a victim trains on in one thread, as measured here."""
    entry = suite.victims[victim]
    images = data.load(entry.data)
    network = networks.get(entry.surrogate or entry.network, images)
    x, labels = images.train.inputs(slice(MEASURED)), images.train.labels[:MEASURED]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return 1 / seconds_per_image(network, x, labels, suite.training_on(victim))
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
