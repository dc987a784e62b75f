"""What the gateway costs beside a bare server of the same kind, and what its ledger costs: CPU a request."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soak import load, victims
from soak.gateways import Running, bare, gateway, redis

SECONDS, CONNECTIONS = 4, (1, 8, 16)
CLIENTS = 16


def rows() -> list[dict[str, Any]]:
    """A row for each server, protocol and number of clients; `added_ms` is processor time beside the bare server."""
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        plain, defended = victims.exported(room)
        found = list(_all(room, plain, defended))
    beside = {(it["protocol"], it["clients"]): it for it in found if it["server"] == "bare"}
    for it in found:
        base = beside[it["protocol"], it["clients"]]
        it["added_ms"], it["throughput"] = it["cpu_ms"] - base["cpu_ms"], it["rate"] / base["rate"]
    return found


def _all(room: Path, plain: Path, defended: Path) -> Iterator[dict[str, Any]]:
    with bare(plain, room) as server:
        yield from _measured("bare", server)
    with gateway({"path": str(plain)}, room, store="memory:", clients=CLIENTS) as server:
        yield from _measured("gateway, no defense", server)
    with gateway({"path": str(defended)}, room, store="memory:", clients=CLIENTS) as server:
        yield from _measured("gateway, in memory", server)
    with gateway({"path": str(defended)}, room, store=f"sqlite:{room / 'ledger.db'}", clients=CLIENTS) as server:
        yield from _measured("gateway, SQLite", server)
    with redis(room) as url, gateway({"path": str(defended)}, room, store=url, clients=CLIENTS) as server:
        yield from _measured("gateway, Redis", server)


def _measured(name: str, server: Running) -> Iterator[dict[str, Any]]:
    x = victims.inputs(1, seed=1)
    binary, text = load.Body.binary(x, "x", "probabilities"), load.Body.json(x, "x")
    ways = {
        "binary": lambda n: load.rest(server.rest, binary, connections=n, seconds=SECONDS, keys=server.keys),
        "JSON": lambda n: load.rest(server.rest, text, connections=n, seconds=SECONDS, keys=server.keys),
        "gRPC": lambda n: load.grpc(server.grpc, "victim", x, "x", connections=n, seconds=SECONDS, keys=server.keys),
    }
    for protocol, ask in ways.items():
        ask(CONNECTIONS[-1])  # once to get warm
        for n in CONNECTIONS:
            before = server.process.processor_seconds
            seen = ask(n)
            spent = server.process.processor_seconds - before
            yield {"server": name, "protocol": protocol, "clients": n} | load.row(seen, spent)
