"""What the gateway costs beside a bare server of the same kind, and what its ledger costs: CPU a request."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.load import load, victims
from benchmarks.load.gateways import MODEL, Running, bare, gateway, redis
from benchmarks.load.load import Load
from benchmarks.load.progress import told

SECONDS, ROUNDS, CONNECTIONS = 2, 2, (1, 8, 16)
CLIENTS = 16
BARE = "bare"

Ask = Callable[[Running, int], Load]


def rows(room: Path) -> list[dict[str, Any]]:
    """A row for each server, protocol and number of clients: the round that took the least processor time."""
    plain, defended = victims.exported(room)
    with ExitStack() as stack:
        servers = _servers(stack, room, plain, defended)
        ways = _ways()
        for ask, server in itertools.product(ways.values(), servers.values()):
            ask(server, CONNECTIONS[-1])  # once to get warm
        found = []
        for number, (protocol, ask), n in itertools.product(range(ROUNDS), ways.items(), CONNECTIONS):
            for name, server in servers.items():  # beside each other in time: others may use the machine
                figures = _measured(ask, server, n)
                told(f"round {number + 1}", name, protocol, f"{n} clients", f"{figures['cpu_ms']:.3f} ms a request")
                found.append({"server": name, "protocol": protocol, "clients": n} | figures)
    return compared(cheapest(found))


def cheapest(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of the rounds of each server, protocol and number of clients, the one with the least processor time."""
    least = dict[tuple[Any, ...], dict[str, Any]]()
    for it in found:
        key = it["server"], it["protocol"], it["clients"]
        if key not in least or it["cpu_ms"] < least[key]["cpu_ms"]:
            least[key] = dict(it)
    return list(least.values())


def compared(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `added_ms`, processor time beside the bare server, and `throughput`, as a share of it."""
    rows = [dict(it) for it in found]
    beside = {(it["protocol"], it["clients"]): it for it in rows if it["server"] == BARE}
    for it in rows:
        base = beside[it["protocol"], it["clients"]]
        it["added_ms"], it["throughput"] = it["cpu_ms"] - base["cpu_ms"], it["rate"] / base["rate"]
    return rows


def _servers(stack: ExitStack, room: Path, plain: Path, defended: Path) -> dict[str, Running]:
    """All of them at once; who is not asked takes no time."""

    def opened(name: str, graph: Path, store: str) -> Running:
        return stack.enter_context(gateway({"path": str(graph)}, room / name, store=store, clients=CLIENTS))

    return {
        BARE: stack.enter_context(bare(plain, room)),
        "gateway, no defense": opened("undefended", plain, "memory:"),
        "gateway, in memory": opened("memory", defended, "memory:"),
        "gateway, SQLite": opened("sqlite", defended, f"sqlite:{room / 'ledger.db'}"),
        "gateway, Redis": opened("redis", defended, stack.enter_context(redis(room))[0]),
    }


def _ways() -> dict[str, Ask]:
    """How a server is asked, by protocol."""
    x = victims.inputs(1, seed=1)
    binary, text = load.Body.binary(x, "x", "probabilities"), load.Body.json(x, "x", "probabilities")

    def rest(body: load.Body) -> Ask:
        return lambda it, n: load.rest(it.rest, body, connections=n, seconds=SECONDS, keys=it.keys)

    def grpc(it: Running, n: int) -> Load:
        return load.grpc(it.grpc, MODEL, x, "x", connections=n, seconds=SECONDS, keys=it.keys)

    return {"binary": rest(binary), "JSON": rest(text), "gRPC": grpc}


def _measured(ask: Ask, server: Running, n: int) -> dict[str, float]:
    before = server.process.processor_seconds
    seen = ask(server, n)
    return load.row(seen, server.process.processor_seconds - before)
