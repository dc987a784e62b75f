"""What a marked answer costs on the line, beside the rest of the gateway's work for the same request."""

import asyncio
from collections.abc import Callable

import numpy as np

from benchmarks.speed.clock import processor_seconds
from benchmarks.speed.domains import CLASSES, REQUESTS, ROUNDS, SPECS, requests
from feint.defenses.served_mark import ServedMark
from feint.ledger import Account
from feint.openinference.model_spec import ModelSpec

Row = dict[str, str | float]
MARK = ServedMark("a key of the benchmark", 0.005, 200)
BATCH = 64


def marking(spec: ModelSpec, size: int, calls: int) -> Callable[[], None]:
    """Return a job that marks and records the answers to so many batches of inputs."""
    assert spec.domain is not None
    batches = spec.domain.sample(size * calls, 0).reshape(calls, size, *spec.domain.shape)
    p, account = np.full((size, CLASSES), 1 / CLASSES, np.float32), Account("client")

    def job() -> None:
        for x in batches:
            MARK.record(p, MARK.perturb(p, x), x, account)

    return job


def cost() -> list[Row]:
    """Return processor time an input by domain, alone and in a batch, and its ratio to that of a request by JSON."""
    rows: list[Row] = []
    loop = asyncio.new_event_loop()
    for name, spec in SPECS.items():
        jobs = {
            "request": requests(loop, spec, "json"), "one": marking(spec, 1, REQUESTS),
            "batch": marking(spec, BATCH, 1),
        }  # fmt: skip
        rounds = [{part: processor_seconds(job)[0] for part, job in jobs.items()} for _ in range(ROUNDS)]
        least = {part: min(turn[part] for turn in rounds) for part in jobs}
        one = least["one"] / REQUESTS
        rows.append(
            {"input": name, "us_one": 1e6 * one, "us_in_batch_of_64": 1e6 * least["batch"] / BATCH,
             "to_request": one / (least["request"] / REQUESTS)}
        )  # fmt: skip
    loop.close()
    return rows
