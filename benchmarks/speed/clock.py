"""Timers of the benchmarks."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Result = TypeVar("Result")


def least(jobs: Mapping[str, Callable[[], object]], *, repeats: int = 30) -> dict[str, float]:
    """Return the least wall time of each job in seconds, over `repeats` rounds in which the jobs take turns."""
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(repeats):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def pairs(
    first: Callable[[], object], second: Callable[[], object], *, repeats: int
) -> tuple[list[float], list[float]]:
    """Measure the processor time of two jobs in turns, with their order reversed in every other turn.

    A disturbance of the machine that lasts longer than two jobs disturbs both.

    Args:
        first: One job.
        second: The other job.
        repeats: Number of turns.

    Returns:
        The seconds of each turn, for both jobs.
    """
    seconds: tuple[list[float], list[float]] = [], []
    jobs = first, second
    for turn in range(repeats):
        for which in (0, 1) if turn % 2 else (1, 0):
            seconds[which].append(processor_seconds(jobs[which])[0])
    return seconds


def processor_seconds(job: Callable[[], Result]) -> tuple[float, Result]:
    """Return the processor time of a job in seconds, over all threads, and its result."""
    started = time.process_time()
    result = job()
    return time.process_time() - started, result
