"""What is lost when something dies in the middle of load: answers at the clients beside charges in the ledger."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.load import victims
from benchmarks.load.askers import Seen, asking
from benchmarks.load.gateways import MODEL, Running, gateway, plain_gateway, redis
from benchmarks.load.processes import Server
from benchmarks.load.progress import told
from feint.gateway.stores import open_store

CLIENTS, BEFORE, DOWN, AFTER = 8, 3.0, 1.0, 4.0
DURABLE = "--appendonly", "yes", "--appendfsync", "always"  # or a Redis that dies takes the last charges with it


def rows(room: Path) -> list[dict[str, Any]]:
    """A row for each fault."""
    files = victims.exported(room)
    return [_row(fault(room / fault.__name__, *files)) for fault in FAULTS]


def _row(found: dict[str, Any]) -> dict[str, Any]:
    told(*(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in found.items()))
    return found


def gateway_and_sqlite(room: Path, bare: Path, defended: Path) -> dict[str, Any]:
    """The gateway is killed, with its ledger in a file."""
    room.mkdir()
    store = f"sqlite:{room / 'ledger.db'}"
    with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
        seen = _through(server, server.process, bare, defended)
    return _counted("gateway killed, SQLite", seen, store)


def gateway_and_redis(room: Path, bare: Path, defended: Path) -> dict[str, Any]:
    """The gateway is killed, with its ledger in Redis."""
    room.mkdir()
    with redis(room) as (store, _):
        with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
            seen = _through(server, server.process, bare, defended)
        return _counted("gateway killed, Redis", seen, store)


def redis_itself(room: Path, bare: Path, defended: Path) -> dict[str, Any]:
    """Redis is killed, and comes back with what it had written down."""
    room.mkdir()
    with redis(room, *DURABLE) as (store, process):
        with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
            seen = _through(server, process, bare, defended)
        return _counted("Redis killed", seen, store)


def upstream(room: Path, bare: Path, defended: Path) -> dict[str, Any]:
    """The server that holds the model is killed."""
    room.mkdir()
    store = f"sqlite:{room / 'ledger.db'}"
    with ExitStack() as stack:
        behind = stack.enter_context(plain_gateway(bare, room / "behind"))
        model = {"upstream": behind.url, "outputs": str(bare.with_name(victims.OUTPUTS))}
        server = stack.enter_context(gateway(model, room, store=store, clients=CLIENTS))
        seen = _through(server, behind.process, bare, bare.with_name(victims.OUTPUTS))
    return _counted("upstream killed", seen, store)


FAULTS = gateway_and_sqlite, gateway_and_redis, redis_itself, upstream


def _through(server: Running, victim: Server, bare: Path, defended: Path) -> tuple[Sequence[Seen], float]:
    """What the clients saw while `victim` was killed and started again, and when that was."""
    right = victims.answers(bare, defended)
    with asking(server.rest, server.keys, right) as seen:
        time.sleep(BEFORE)
        victim.kill()
        time.sleep(DOWN)
        again = time.monotonic()
        victim.start()
        time.sleep(AFTER)
    return seen, again


def _counted(fault: str, found: tuple[Sequence[Seen], float], store: str) -> dict[str, Any]:
    seen, again = found
    return {"fault": fault} | balance(seen, asyncio.run(charged(store)), again)


async def charged(store: str) -> Mapping[str, int]:
    """The queries that each client was charged, as the ledger says."""
    ledger = open_store(store, MODEL)
    try:
        return {client: int(totals.get("queries", 0)) for client, totals in await ledger.clients(10 * CLIENTS)}
    finally:
        await ledger.close()


def balance(seen: Sequence[Seen], charges: Mapping[str, int], again: float) -> dict[str, Any]:
    """Answers beside charges: `lost` were answered and never charged, `extra` charged and not answered, of which
    there may be as many as were `in_flight`: asked and not known to be refused. `recovery_s` is from the start of what
    had died to the first answer after it."""
    owed = {it.client: charges.get(it.client, 0) - it.answered for it in seen}
    return {
        "answered": sum(it.answered for it in seen),
        "charged": sum(charges.values()),
        "lost": sum(max(0, -it) for it in owed.values()),
        "extra": sum(max(0, it) for it in owed.values()),
        "in_flight": sum(it.in_flight for it in seen),
        "refused": sum(it.refused for it in seen),
        "undefended": sum(it.undefended for it in seen),
        "recovery_s": min((at for it in seen for at in it.times if at > again), default=float("inf")) - again,
    }
