"""Scene of the memory of a gateway with ten thousand clients, under minutes of load."""

import asyncio
import time
from pathlib import Path
from typing import Any

from benchmarks.load import load, victims
from benchmarks.load.gateways import MODEL, gateway
from benchmarks.load.progress import print_line
from feint.gateway.stores import open_store

CLIENTS, PART = 10_000, 15


def rows(room: Path, *, minutes: float) -> list[dict[str, Any]]:
    """Return a row every quarter of a minute: resident memory of the gateway in MiB, and the load in between."""
    rows = []
    _, defended = victims.exported(room)
    store = f"sqlite:{room / 'ledger.db'}"
    body = load.Body.binary(victims.inputs(victims.DIFFERENT, seed=1), "x", "probabilities")
    with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
        begun = time.monotonic()
        while time.monotonic() - begun < 60 * minutes:
            part = load.rest(server.rest, body, connections=8, seconds=PART, keys=server.keys)
            minute, memory = (time.monotonic() - begun) / 60, server.process.memory
            print_line(f"{memory:.1f} MiB after {minute:.1f} minutes, {part.rate:,.0f} requests a second")
            figures = {"requests": part.requests, "failed": part.failed, "rate": part.rate, "p99_ms": part.p99_ms}
            rows.append({"minute": minute, "memory_mib": memory} | figures)
    known = asyncio.run(_clients(store))
    return [row | {"clients": known} for row in rows]


async def _clients(store: str) -> int:
    ledger = open_store(store, MODEL)
    try:
        return len(await ledger.clients(2 * CLIENTS))
    finally:
        await ledger.close()
