"""What a commit to the ledger costs: memory, SQLite and Redis, with a typical request."""

import asyncio
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvloop

from feint.defenses.access import Budget
from feint.defenses.access.martingale import Martingale
from feint.gateway.array_query import ArrayQuery
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores import STORES, open_store
from feint.gateway.transaction import Transaction

Row = dict[str, str | float]
REQUESTS, CLIENTS, RUNS = 4000, 100, 5
CALIBRATION = 5000
BETS = 24


def cost() -> list[Row]:
    """Time requests of one 3×32×32 input by 100 clients, 16 at once: budget, sequential test, token of the repeat.

    Returns:
        Processor time of the client process for each store, the least of five runs in which the stores take turns: a
        whole request, and its excess over the same request on a transaction that is discarded.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as redis:
        for run in range(RUNS):
            places = {
                "draft alone": "memory:",
                "memory": "memory:",
                "SQLite": f"sqlite:{folder}/{run}.db",
                "Redis": redis,
            }
            for name, url in places.items():
                if url.partition(":")[0] in STORES:
                    found.setdefault(name, []).append(uvloop.run(run_of(url, run, keep=name != "draft alone")))
    alone = min(found["draft alone"])[0]
    return [
        {
            "store": name,
            "cpu_ms": min(cpu for cpu, _ in runs) * 1e3,
            "cpu_ms_more": (min(cpu for cpu, _ in runs) - alone) * 1e3,
            "requests_per_second": 1 / min(wall for _, wall in runs),
        }
        for name, runs in found.items()
    ]


async def run_of(url: str, run: int, *, keep: bool) -> tuple[float, float]:
    """Return the seconds of processor and of wall time for each request."""
    session, asked, test, rule = LedgerSession(open_store(url, f"{run}")), inputs(), martingale(), Budget(10**9)

    async def client(i: int) -> None:
        for n in range(REQUESTS // 16):
            it = asked[(16 * n + i) % len(asked)]
            query = ArrayQuery(it, f"client {(16 * n + i) % CLIENTS}", time=float(n))
            while not await request(session, session.begin(query.client), query, test, rule, keep=keep):
                pass

    processor, wall = used(), time.perf_counter()
    await asyncio.gather(*(client(i) for i in range(16)))
    seconds = used() - processor, time.perf_counter() - wall
    await session.store.close()
    return seconds[0] / REQUESTS, seconds[1] / REQUESTS


async def request(
    session: LedgerSession, transaction: Transaction, query: ArrayQuery, test: Martingale, rule: Budget, *, keep: bool
) -> bool:
    """Run one request against a ledger, and return whether its transaction was committed."""
    rule.admit(query, transaction)
    scores = np.full(len(query), test.inputs[CALIBRATION // 2])
    transaction.add("evidence", 0.0, floor=test.observe(scores, query, transaction))
    transaction.add("rung", 0.0, floor=0.0)
    transaction.add("queries", len(query))
    return await session.commit(transaction) if keep else True


def used() -> float:
    """Return the processor time of this process in seconds, in user and kernel mode, over all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def inputs() -> list[np.ndarray]:
    """Return inputs (1, 3, 32, 32) that all differ."""
    return list(np.random.default_rng(0).random((REQUESTS, 1, 3, 32, 32), np.float32))


def martingale() -> Martingale:
    """Return a test with as many bets as `SequentialTest` makes with outliers."""
    generator = np.random.default_rng(0)
    won = generator.normal(0, 0.1, (CALIBRATION + 1, BETS))
    return Martingale(np.sort(generator.normal(size=CALIBRATION)), won, np.full(BETS, 1 / BETS), 1e-3)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Yield the URL of a Redis server with the durability that a ledger needs; empty without the program."""
    if shutil.which("redis-server") is None:
        yield ""
        return
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    given = ["--port", f"{port}", "--bind", "127.0.0.1", "--dir", f"{folder}", "--save", "", "--appendonly", "yes"]
    process = subprocess.Popen(["redis-server", *given], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
