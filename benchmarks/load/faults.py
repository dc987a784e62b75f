"""Scenes of a process killed under load: answers at the clients beside charges in the ledger."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.load import victims
from benchmarks.load.clients import ClientLog, run_clients
from benchmarks.load.gateways import MODEL, Running, gateway, plain_gateway, redis
from benchmarks.load.processes import Server
from benchmarks.load.progress import print_line
from feint.gateway.stores import open_store

CLIENTS, BEFORE, DOWN, AFTER = 8, 3.0, 1.0, 4.0
DURABLE = "--appendonly", "yes", "--appendfsync", "always"  # or a Redis that dies takes the last charges with it


def rows(room: Path) -> list[dict[str, Any]]:
    """Return a row for each fault."""
    files = victims.exported(room)
    return [_row(fault(room / fault.__name__, *files)) for fault in FAULTS]


def _row(figures: dict[str, Any]) -> dict[str, Any]:
    print_line(
        *(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items())
    )
    return figures


def gateway_and_sqlite(room: Path, bare: Path, defended: Path) -> dict[str, Any]:
    """The gateway is killed, with its ledger in a file."""
    room.mkdir()
    store = f"sqlite:{room / 'ledger.db'}"
    with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
        logs = _through(server, server.process, bare, defended)
    return _counted("gateway killed, SQLite", logs, store)


def gateway_and_redis(room: Path, bare: Path, defended: Path) -> dict[str, Any]:
    """The gateway is killed, with its ledger in Redis."""
    room.mkdir()
    with redis(room) as (store, _):
        with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
            logs = _through(server, server.process, bare, defended)
        return _counted("gateway killed, Redis", logs, store)


def redis_itself(room: Path, bare: Path, defended: Path) -> dict[str, Any]:
    """Redis is killed, and comes back with what it had written down."""
    room.mkdir()
    with redis(room, *DURABLE) as (store, process):
        with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
            logs = _through(server, process, bare, defended)
        return _counted("Redis killed", logs, store)


def upstream(room: Path, bare: Path, defended: Path) -> dict[str, Any]:
    """The server that holds the model is killed."""
    room.mkdir()
    store = f"sqlite:{room / 'ledger.db'}"
    with ExitStack() as stack:
        behind = stack.enter_context(plain_gateway(bare, room / "behind"))
        model = {"upstream": behind.url, "outputs": str(bare.with_name(victims.OUTPUTS))}
        server = stack.enter_context(gateway(model, room, store=store, clients=CLIENTS))
        logs = _through(server, behind.process, bare, bare.with_name(victims.OUTPUTS))
    return _counted("upstream killed", logs, store)


FAULTS = gateway_and_sqlite, gateway_and_redis, redis_itself, upstream


def _through(server: Running, victim: Server, bare: Path, defended: Path) -> tuple[Sequence[ClientLog], float]:
    """Return the logs of clients while `victim` was killed and restarted, and the time of the restart."""
    expected = victims.answers(bare, defended)
    with run_clients(server.rest, server.keys, expected) as logs:
        time.sleep(BEFORE)
        victim.kill()
        time.sleep(DOWN)
        again = time.monotonic()
        victim.start()
        time.sleep(AFTER)
    return logs, again


def _counted(fault: str, figures: tuple[Sequence[ClientLog], float], store: str) -> dict[str, Any]:
    logs, again = figures
    return {"fault": fault} | balance(logs, asyncio.run(charged(store)), again)


async def charged(store: str) -> Mapping[str, int]:
    """Return the queries that the ledger charged to each client."""
    ledger = open_store(store, MODEL)
    try:
        return {client: int(totals.get("queries", 0)) for client, totals in await ledger.clients(10 * CLIENTS)}
    finally:
        await ledger.close()


def balance(logs: Sequence[ClientLog], charges: Mapping[str, int], again: float) -> dict[str, Any]:
    """Compare answers with charges.

    Returns:
        `lost` queries were answered and never charged, `extra` ones charged and not answered. Of the latter there may
        be as many as were `in_flight`. `recovery_s` is the time from the restart to the first answer after it.
    """
    owed = {log.client: charges.get(log.client, 0) - log.answered for log in logs}
    return {
        "answered": sum(log.answered for log in logs),
        "charged": sum(charges.values()),
        "lost": sum(max(0, -debt) for debt in owed.values()),
        "extra": sum(max(0, debt) for debt in owed.values()),
        "in_flight": sum(log.in_flight for log in logs),
        "refused": sum(log.refused for log in logs),
        "undefended": sum(log.undefended for log in logs),
        "recovery_s": min((at for log in logs for at in log.times if at > again), default=float("inf")) - again,
    }
