"""Scene of the processor time that the gateway and its ledger add to a request, beside a bare server."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.load import load, victims
from benchmarks.load.gateways import MODEL, Running, bare, gateway, redis
from benchmarks.load.load import Load
from benchmarks.load.progress import print_line

SECONDS, ROUNDS, CONNECTIONS = 2, 2, (1, 8, 16)
CLIENTS = 16
BARE = "bare"

Ask = Callable[[Running, int], Load]


def rows(room: Path) -> list[dict[str, Any]]:
    """Return a row for each server, protocol and number of clients: the round that took the least processor time."""
    plain, defended = victims.exported(room)
    with ExitStack() as stack:
        servers = _servers(stack, room, plain, defended)
        asks = ways()
        for ask, server in itertools.product(asks.values(), servers.values()):
            ask(server, CONNECTIONS[-1])  # once to get warm
        rounds = []
        for number, (protocol, ask), n in itertools.product(range(ROUNDS), asks.items(), CONNECTIONS):
            for name, server in servers.items():  # beside each other in time: others may use the machine
                figures = measured(ask, server, n)
                print_line(
                    f"round {number + 1}", name, protocol, f"{n} clients", f"{figures['cpu_ms']:.3f} ms a request"
                )
                rounds.append({"server": name, "protocol": protocol, "clients": n} | figures)
    return compared(cheapest(rounds))


def cheapest(rounds: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, of the rounds of each server, protocol and number of clients, the one with the least processor time."""
    least = dict[tuple[Any, ...], dict[str, Any]]()
    for row in rounds:
        key = row["server"], row["protocol"], row["clients"]
        if key not in least or row["cpu_ms"] < least[key]["cpu_ms"]:
            least[key] = dict(row)
    return list(least.values())


def compared(rounds: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with `added_ms`, processor time beside the bare server, and `throughput`, as a share of its."""
    rows = [dict(row) for row in rounds]
    beside = {(row["protocol"], row["clients"]): row for row in rows if row["server"] == BARE}
    for row in rows:
        base = beside[row["protocol"], row["clients"]]
        row["added_ms"], row["throughput"] = row["cpu_ms"] - base["cpu_ms"], row["rate"] / base["rate"]
    return rows


def _servers(stack: ExitStack, room: Path, plain: Path, defended: Path) -> dict[str, Running]:
    """Start all servers; an idle one takes no processor time."""

    def opened(name: str, graph: Path, store: str) -> Running:
        return stack.enter_context(gateway({"path": str(graph)}, room / name, store=store, clients=CLIENTS))

    return {
        BARE: stack.enter_context(bare(plain, room)),
        "gateway, no defense": opened("undefended", plain, "memory:"),
        "gateway, in memory": opened("memory", defended, "memory:"),
        "gateway, SQLite": opened("sqlite", defended, f"sqlite:{room / 'ledger.db'}"),
        "gateway, Redis": opened("redis", defended, stack.enter_context(redis(room))[0]),
    }


def ways() -> dict[str, Ask]:
    """Return the load generator of each protocol."""
    x = victims.inputs(victims.DIFFERENT, seed=1)
    binary, text = load.Body.binary(x, "x", "probabilities"), load.Body.json(x, "x", "probabilities")

    def rest(body: load.Body) -> Ask:
        return lambda server, n: load.rest(server.rest, body, connections=n, seconds=SECONDS, keys=server.keys)

    def grpc(server: Running, n: int) -> Load:
        return load.grpc(server.grpc, MODEL, x, "x", connections=n, seconds=SECONDS, keys=server.keys)

    return {"binary": rest(binary), "JSON": rest(text), "gRPC": grpc}


def measured(ask: Ask, server: Running, n: int) -> dict[str, float]:
    """Return the figures of `n` clients of a server, with the processor time that it took."""
    before = server.process.processor_seconds
    seen = ask(server, n)
    return load.row(seen, server.process.processor_seconds - before)
