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


def processor_seconds(job: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of processor time, over all threads, and what the job returned."""
    started = time.process_time()
    result = job()
    return time.process_time() - started, result
