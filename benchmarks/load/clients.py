"""Clients that count outcomes: each sends one request at a time, whatever happens to the server."""

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
class ExpectedAnswers:
    """Bodies of requests, and the possible answers (K,) to each: those of the rungs."""

    bodies: Sequence[bytes]
    rungs: Sequence[Sequence[np.ndarray]]

    def defended(self, number: int, answer: Sequence[float]) -> bool:
        """Return whether a rung of the defense gives this answer."""
        return any(len(answer) == len(p) and np.allclose(answer, p, atol=1e-5) for p in self.rungs[number])


@dataclass
class ClientLog:
    """Counts of one client's requests.

    Attributes:
        client: Name of the client.
        answered: Requests answered with 200.
        undefended: Answers among them that no rung of the defense gives.
        refused: Requests refused by a response.
        in_flight: Requests of unknown outcome: no response, or a failure just after an answer.
        well: Whether the last request was answered.
        times: Times of the answers, in seconds.
    """

    client: str
    answered: int = 0
    undefended: int = 0
    refused: int = 0
    in_flight: int = 0
    well: bool = False
    times: list[float] = field(default_factory=list)


@contextmanager
def run_clients(url: str, keys: Sequence[str], expected: ExpectedAnswers) -> Iterator[list[ClientLog]]:
    """Run a client for each of `keys`, which `gateways.issue` made, in a thread of its own until the block ends."""
    logs, over = [ClientLog(f"client-{i}") for i in range(len(keys))], threading.Event()
    threads = [
        threading.Thread(target=_query, args=(url, key, expected, log, over))
        for key, log in zip(keys, logs, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield logs
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _query(url: str, key: str, expected: ExpectedAnswers, log: ClientLog, over: threading.Event) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    number = 0
    while not over.is_set():
        number = (number + 1) % len(expected.bodies)
        try:
            connection.connect() if connection.sock is None else None
        except OSError:  # nothing was sent
            time.sleep(PAUSE)
            continue
        try:
            connection.request("POST", parts.path, expected.bodies[number], headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            log.in_flight += 1
            continue
        _count(log, response.status, body, number, expected)


def _count(log: ClientLog, status: int, body: bytes, number: int, expected: ExpectedAnswers) -> None:
    if status == 200:
        log.answered, log.well = log.answered + 1, True
        log.times.append(time.monotonic())
        log.undefended += not expected.defended(number, json.loads(body)["outputs"][0]["data"])
        return
    log.refused += 1
    log.in_flight += status >= 500 and log.well
    log.well = False
    time.sleep(PAUSE)
