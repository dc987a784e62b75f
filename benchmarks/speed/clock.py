"""How the benchmarks measure."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Result = TypeVar("Result")


def least(jobs: Mapping[str, Callable[[], object]], *, repeats: int = 30) -> dict[str, float]:
    """Seconds of wall time of each job: the least of `repeats`, the jobs taking turns."""
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
    """Seconds of processor time of two jobs, side by side and in turns the other way round: what disturbs the machine
    for longer than two of them disturbs both."""
    seconds: tuple[list[float], list[float]] = [], []
    jobs = first, second
    for turn in range(repeats):
        for which in (0, 1) if turn % 2 else (1, 0):
            seconds[which].append(processor_seconds(jobs[which])[0])
    return seconds


def processor_seconds(job: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of processor time, over all threads, and what the job returned."""
    started = time.process_time()
    result = job()
    return time.process_time() - started, result
