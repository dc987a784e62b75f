"""The bench: what it costs to come back to finished cells, to hand cells out, and what a second worker brings."""

import functools
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import feint
from feint import Defense, Matrix, Training, runners
from feint.attacks import HardLabels, KnockoffNets
from feint.defenses.outputs import APGPClosedForm, ReverseSigmoid
from feint.evaluation.results import Cell
from feint.progress import ProgressCallback
from feint.report.summary import markdown
from feint.report.text import sentences

Row = dict[str, str | float]
ITEMS = 200


class Nothing:
    """A job that does nothing."""

    def __call__(self, item: int) -> int:
        return item

    def lost(self, item: int, reason: str) -> int:
        raise RuntimeError(reason)


class Fast(Matrix):
    """A matrix whose thefts come to something at once."""

    def row(self, cell: Cell, **more: ProgressCallback):
        if not cell.attack:
            return Matrix.row(self, cell, **more)
        scores = {"stealer_accuracy": 0.5, "fidelity": 0.5, "n_test": 360}
        return self._row(cell, scores=scores, asked=cell.budget, seconds=0.0, phases={})


def digits_matrix(kind: type[Matrix] = Matrix, *, epochs: int = 20, seeds: int = 3) -> Matrix:
    """Thefts of an MLP on digits: two attacks, three defenses, two budgets."""
    images = feint.data.load("digits")
    network = feint.models.networks.get("mlp", images)
    victim = feint.train(network, images.train, training=Training(epochs=20))
    knockoff = KnockoffNets(images.pool, network, Training(epochs=epochs))
    return kind(
        victim,
        images.test,
        attacks={"knockoff": knockoff, "knockoff, labels": knockoff.through(HardLabels())},
        defenses={
            "none": Defense(),
            "closed form": Defense(outputs=[APGPClosedForm(top=1)]),
            "reverse sigmoid": Defense(outputs=[ReverseSigmoid()]),
        },
        budgets=[300, 600],
        seeds=range(seeds),
    )


def reopening() -> list[Row]:
    """Seconds to open a matrix whose cells are all finished, and to make its tables and sentences."""
    matrix = digits_matrix(Fast, seeds=17)
    with tempfile.TemporaryDirectory() as folder:
        matrix.run(folder=folder)
        started = time.perf_counter()
        results = matrix.run(folder=folder)
        opened = time.perf_counter()
        results.table(rows="attack", columns="defense", value="stealer_accuracy")
        markdown(results)
        sentences(results)
        told = time.perf_counter()
    return [{"cells": len(results), "open_seconds": opened - started, "tables_seconds": told - opened}]


@contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    """A Ray cluster on this machine with room for so many cells."""
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def warmed(runner: runners.Runner) -> Callable[[], float]:
    """How to time `ITEMS` items that do nothing: from the first result on, since a start is paid for once."""

    def seconds() -> float:
        results = iter(runner(Nothing(), range(ITEMS)))
        next(results)
        started = time.perf_counter()
        list(results)
        return time.perf_counter() - started

    return seconds


def scheduling() -> list[Row]:
    """Milliseconds a cell: of each runner alone, and of the bench with its leases and rows."""
    two = functools.partial(runners.processes, workers=2)
    rows: list[Row] = [{"what": "map", "ms": 1000 * warmed(map)() / ITEMS}]
    rows.append({"what": "processes", "ms": 1000 * warmed(two)() / ITEMS})
    with ray_cluster(2):
        rows.append({"what": "ray", "ms": 1000 * warmed(runners.ray)() / ITEMS})
    matrix = digits_matrix(Fast, seeds=17)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        cells = len(matrix.run(folder=Path(folder)))
        rows.append({"what": "bench with map", "ms": 1000 * (time.perf_counter() - started) / cells})
    return rows


def scaling(*, epochs: int = 100, seeds: int = 3) -> list[Row]:
    """Wall seconds of the same cells with one worker of one thread, and with two; workers start in them, Ray before."""
    matrix = digits_matrix(epochs=epochs, seeds=seeds)
    runs: dict[str, Callable[[int], runners.Runner]] = {
        "processes": lambda workers: functools.partial(runners.processes, workers=workers),
        "ray": lambda workers: runners.ray,
    }
    rows: list[Row] = []
    for name, runner in runs.items():
        for workers in (1, 2):
            with ray_cluster(workers):
                started = time.perf_counter()
                cells = len(matrix.run(map=runner(workers)))
                seconds = time.perf_counter() - started
            rows.append({"runner": name, "workers": workers, "cells": cells, "seconds": seconds})
    return rows
