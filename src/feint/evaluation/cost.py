"""What a defense costs its owner: time and memory of its input and output defenses."""

import time
from collections.abc import Callable

from torch import Tensor

from feint.data import Split
from feint.evaluation.memory import added_mb
from feint.query import Query
from feint.service import Service
from feint.victims import predict


def added_mb_per_1000(service: Service, test: Split) -> float:
    """Measure the peak memory in MiB that the defenses of `service` add for the first 1,000 inputs of `test`."""
    return added_mb(_steps(service, test, 1000))


def added_ms_per_1000(service: Service, test: Split, *, batch: int = 250, least: float = 0.2) -> float:
    """Measure the milliseconds that the input and output defenses of `service` take for 1,000 queries.

    The steps are timed by themselves. The difference between two whole lines drowns in the model's own noise: for
    ResNet-20 it came out at -10 to +15 ms where the steps take one.

    Args:
        service: The model behind its defense.
        test: The test set; its first `batch` inputs are the queries.
        batch: Number of queries in a run.
        least: Seconds after which runs end, once there are 3 of them.

    Returns:
        The least time of 3 to 15 runs, scaled to 1,000 queries.
    """
    steps, times = _steps(service, test, batch), []
    while len(times) < 3 or (len(times) < 15 and sum(times) < least):
        started = time.perf_counter()
        steps()
        times.append(time.perf_counter() - started)
    return min(times) * 1e6 / min(batch, len(test))


def _steps(service: Service, test: Split, batch: int) -> Callable[[], object]:
    """Return a function that runs the input and output defenses of `service` on a batch, without the model."""
    query = Query(test.inputs(slice(0, batch)), client="honest")
    clean = predict(service.model, query.x)

    def run() -> Tensor:
        x, p = query.x, clean
        defense = service.line.rung(query, service.model, service.ledger[query.client])
        for perturb in defense.inputs:
            x = perturb(x, service.model)
        for perturb in defense.outputs:
            p = perturb(p, x)
        return p

    return run
