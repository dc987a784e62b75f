"""What a distant ledger costs: requests of one client and of many, at round trips of 0.1, 5 and 50 ms."""

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.speed.ledgers import CALIBRATION, inputs, martingale, redis_server
from feint.defenses.access import Budget
from feint.gateway.array_query import ArrayQuery
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores import open_store
from feint.openinference.model_spec import ModelSpec
from feint.signature import Pixels

Row = dict[str, str | float]
DELAYS = 0.1, 5.0, 50.0  # ms, there and back
AT_ONCE, SECONDS, RUNS = 16, 3.0, 3


class Tested:
    """Pipeline with a budget and a sequential test, whose model takes no time."""

    def __init__(self) -> None:
        self._test, self._rule = martingale(), Budget(10**9)

    @property
    def rules(self) -> tuple[Budget, ...]:
        return (self._rule,)

    def admit(self, query, account) -> None:
        self._rule.admit(query, account)

    async def compute(self, query, account=None) -> np.ndarray:
        return np.full((len(query), 10), 0.1, np.float32)

    async def answer(self, query, computed, account, record=None, *, shadow=False) -> np.ndarray:
        account.accuse(self._test.observe(np.full(len(query), self._test.inputs[CALIBRATION // 2]), query, account))
        return computed

    async def strongest(self, query, computed) -> np.ndarray:
        return computed


@asynccontextmanager
async def delayed(port: int, seconds: float) -> AsyncIterator[int]:
    """Yield the port of a proxy that passes on what it reads, each way half of the round trip later."""
    loop, writers = asyncio.get_running_loop(), []

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            loop.call_later(seconds / 2, writer.write, data)
        loop.call_later(seconds / 2, writer.close)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port)
        writers.extend([writer, there[1]])
        with contextlib.suppress(asyncio.CancelledError):  # at the end of the run
            await asyncio.gather(passed_on(reader, there[1]), passed_on(there[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def run_of(port: int, delay: float, clients: int, model: str) -> tuple[float, float]:
    """Return answers a second and the median of their time in ms, 16 requests at once."""
    asked, times = inputs(), list[float]()
    spec = ModelSpec("toy", Pixels((3, 32, 32)), "p", 10, ())
    async with delayed(port, delay / 1000) as near:
        store = open_store(f"redis://127.0.0.1:{near}/0", model)
        endpoint = ModelEndpoint(spec, Tested(), LedgerSession(store))
        end = time.perf_counter() + SECONDS

        async def ask(i: int) -> None:
            n = i
            while (start := time.perf_counter()) < end:
                await endpoint.answer(ArrayQuery(asked[n % len(asked)], f"client {n % clients}"))
                times.append(time.perf_counter() - start)
                n += AT_ONCE

        await asyncio.gather(*map(ask, range(AT_ONCE)))
        await store.close()
    return len(times) / SECONDS, 1e3 * statistics.median(times)


def cost() -> list[Row]:
    """Return answers a second for one client and for 16, by the round trip to the ledger; the median of three runs."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        port = int(url.rpartition(":")[2]) if url else 0
        for delay in DELAYS if url else ():
            for clients in (1, AT_ONCE):
                runs = [uvloop.run(run_of(port, delay, clients, f"{delay} {clients} {run}")) for run in range(RUNS)]
                rate, wait = (statistics.median(values) for values in zip(*runs, strict=True))
                rows.append({"round_trip_ms": delay, "clients": clients, "per_second": rate, "median_ms": wait})
    return rows
