"""Estimate of a suite's running time, from existing rows or from the speed of surrogate trainings here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from feint import data
from feint.bench.suite import Suite
from feint.errors import MissingData
from feint.evaluation.results import Cell, Results, Row
from feint.evaluation.training_time import MEASURED, seconds_per_input
from feint.models import networks


@dataclass(frozen=True)
class Estimate:
    """An estimate of the time for all cells without a row.

    Attributes:
        seconds: Seconds of one process; None where there is no basis for an estimate.
        rests_on: Basis of the estimate, in words.
    """

    seconds: float | None
    rests_on: str


def estimate(suite: Suite, cells: Iterable[Cell], results: Results) -> Estimate:
    """Estimate the time of the thefts among `cells` that have no row in `results`.

    Args:
        suite: The suite.
        cells: Cells that are to be run.
        results: Rows that exist already.

    Returns:
        The estimate.
    """
    done = {_key(row) for row in results if not row.error}
    left = [cell for cell in cells if cell.attack and _key(cell) not in done]
    known = _seconds_a_query(results)
    timed = [cell for cell in left if (cell.victim, cell.attack) in known]
    new = [cell for cell in left if (cell.victim, cell.attack) not in known]
    seconds = sum(known[cell.victim, cell.attack] * cell.budget for cell in timed)
    rests_on = [f"{_thefts(len(timed))} from rows of the same attack that are there"] if timed else []
    if new:
        try:
            speeds = {victim: speed(suite, victim) for victim in dict.fromkeys(cell.victim for cell in new)}
        except MissingData as error:
            return Estimate(None, f"nothing: {error.args[0]}")
        trainings = {victim: suite.resources(victim).training for victim in speeds}
        seconds += sum(trainings[cell.victim].inputs_seen(cell.budget) / speeds[cell.victim] for cell in new)
        measured = ", ".join(f"{victim}: {images:,.0f} images/s" for victim, images in speeds.items())
        rests_on.append(
            f"{_thefts(len(new))} from how fast the surrogate trains here in one thread ({measured}), once for each "
            "theft: attacks in rounds, with trials, and lenses that train take longer"
        )
    return Estimate(seconds, "; ".join(rests_on) or "everything is there")


def speed(suite: Suite, victim: str) -> float:
    """Measure the images per second in a training of the victim's surrogate, in one thread on this machine."""
    entry = suite.victims[victim]
    images = data.load(entry.data)
    network = networks.get(entry.surrogate or entry.network, images)
    x, labels = images.train.inputs(slice(MEASURED)), images.train.labels[:MEASURED]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return 1 / seconds_per_input(network, x, labels, suite.training_on(victim, network))
    finally:
        torch.set_num_threads(threads)


def _key(cell: Cell | Row) -> tuple[str, str, str, int, int]:
    return cell.victim, cell.defense, cell.attack, cell.budget, cell.seed


def _seconds_a_query(results: Results) -> Mapping[tuple[str, str], float]:
    times: dict[tuple[str, str], list[float]] = {}
    for row in results:
        if row.attack and not row.error:
            times.setdefault((row.victim, row.attack), []).append(row.seconds / row.budget)
    return {key: sum(seconds) / len(seconds) for key, seconds in times.items()}


def _thefts(number: int) -> str:
    return f"{number:,} theft{'' if number == 1 else 's'}"
