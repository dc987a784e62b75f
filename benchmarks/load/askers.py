"""Clients that keep count: each asks again and again, one request at a time, whatever happens to the server."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

PAUSE = 0.01  # seconds that a client waits when it was not answered


@dataclass(frozen=True)
class Right:
    """Bodies of requests, and the answers (K,) that may come for each: those of the rungs."""

    bodies: Sequence[bytes]
    rungs: Sequence[Sequence[np.ndarray]]

    def defended(self, number: int, answer: Sequence[float]) -> bool:
        """Whether this answer may leave."""
        return any(len(answer) == len(p) and np.allclose(answer, p, atol=1e-5) for p in self.rungs[number])


@dataclass
class Seen:
    """What one client saw: `answered` with 200, when, of which `undefended` are none that may leave; `refused` by a
    response; `in_flight` were sent, and then nobody knows: no response, or, just after an answer, that all failed."""

    client: str
    answered: int = 0
    undefended: int = 0
    refused: int = 0
    in_flight: int = 0
    well: bool = False
    times: list[float] = field(default_factory=list)


@contextmanager
def asking(url: str, keys: Sequence[str], right: Right) -> Iterator[list[Seen]]:
    """A client for each of `keys`, in a thread of its own, until the block ends; those of `gateways.issue`."""
    seen, over = [Seen(f"client-{i}") for i in range(len(keys))], threading.Event()
    threads = [
        threading.Thread(target=_ask, args=(url, key, right, it, over)) for key, it in zip(keys, seen, strict=True)
    ]
    for it in threads:
        it.start()
    try:
        yield seen
    finally:
        over.set()
        for it in threads:
            it.join()


def _ask(url: str, key: str, right: Right, seen: Seen, over: threading.Event) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    number = 0
    while not over.is_set():
        number = (number + 1) % len(right.bodies)
        try:
            connection.connect() if connection.sock is None else None
        except OSError:  # nothing was sent
            time.sleep(PAUSE)
            continue
        try:
            connection.request("POST", parts.path, right.bodies[number], headers)
            response = connection.getresponse()
            told = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            seen.in_flight += 1
            continue
        _count(seen, response.status, told, number, right)


def _count(seen: Seen, status: int, told: bytes, number: int, right: Right) -> None:
    if status == 200:
        seen.answered, seen.well = seen.answered + 1, True
        seen.times.append(time.monotonic())
        seen.undefended += not right.defended(number, json.loads(told)["outputs"][0]["data"])
        return
    seen.refused += 1
    seen.in_flight += status >= 500 and seen.well
    seen.well = False
    time.sleep(PAUSE)
