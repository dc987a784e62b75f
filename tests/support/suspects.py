"""Suspects of a claim: oracles that give chosen labels to the inputs of a mark."""

import datetime
from collections.abc import Sequence

import torch

from feint.errors import Unreachable
from feint.oracle import CountingOracle
from feint.ownership import Mark
from feint.query import Answer


def repeating(marks: Sequence[Mark], labels, stops: int = 10_000) -> CountingOracle:
    """Return an oracle with these labels for the inputs of each mark, which goes away after `stops` answers."""
    known = {
        x.numpy().tobytes(): label
        for mark, part in zip(marks, labels, strict=True)
        for x, label in zip(mark.x, part.tolist(), strict=True)
    }
    count = 0

    def send(query):
        nonlocal count
        count += len(query)
        if count > stops:
            raise Unreachable("http://suspect", "an answer", "try again later")
        return Answer(torch.eye(marks[0].classes)[[known[x.numpy().tobytes()] for x in query.x]])

    return CountingOracle(send, budget=1000)


def now() -> str:
    """Return the time as `feint claim --appeared` takes it."""
    return datetime.datetime.now(datetime.UTC).isoformat()
