"""Whether memory stays flat: ten thousand clients, minutes of load."""

import asyncio
import time
from pathlib import Path
from typing import Any

from benchmarks.load import load, victims
from benchmarks.load.gateways import MODEL, gateway
from benchmarks.load.progress import told
from feint.gateway.stores import open_store

CLIENTS, PART = 10_000, 15


def rows(room: Path, *, minutes: float) -> list[dict[str, Any]]:
    """A row every quarter of a minute: resident memory of the gateway in MiB, and what its clients saw in between."""
    found = []
    _, defended = victims.exported(room)
    store = f"sqlite:{room / 'ledger.db'}"
    body = load.Body.binary(victims.inputs(1, seed=1), "x", "probabilities")
    with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
        begun = time.monotonic()
        while time.monotonic() - begun < 60 * minutes:
            seen = load.rest(server.rest, body, connections=8, seconds=PART, keys=server.keys)
            minute, memory = (time.monotonic() - begun) / 60, server.process.memory
            told(f"{memory:.1f} MiB after {minute:.1f} minutes, {seen.rate:,.0f} requests a second")
            seen_so_far = {"requests": seen.requests, "failed": seen.failed, "rate": seen.rate, "p99_ms": seen.p99_ms}
            found.append({"minute": minute, "memory_mib": memory} | seen_so_far)
    known = asyncio.run(_clients(store))
    return [it | {"clients": known} for it in found]


async def _clients(store: str) -> int:
    ledger = open_store(store, MODEL)
    try:
        return len(await ledger.clients(2 * CLIENTS))
    finally:
        await ledger.close()
