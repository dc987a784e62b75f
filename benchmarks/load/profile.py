"""Scene of one request after the other, by the steps of its way: where its processor time goes."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.load import cost, victims
from benchmarks.load.gateways import bare, gateway
from benchmarks.load.progress import print_line
from benchmarks.load.timed import TIMED, WARM

ROUNDS = 3
REST = "the rest: sockets, loop, tasks"
WHOLE, BARE = "gateway", "bare server"


def rows(room: Path) -> list[dict[str, Any]]:
    """Return a row for each protocol and step, and for the whole of a request at the gateway and at a bare server.

    The whole is measured without timers. The rest is what of it belongs to no step.
    """
    plain, defended = victims.exported(room)
    model, measured = {"path": str(defended)}, list[dict[str, Any]]()
    for protocol, ask in cost.ways().items():
        with ExitStack() as stack:
            servers = {
                BARE: stack.enter_context(bare(plain, room)),
                WHOLE: stack.enter_context(_opened(model, room, protocol, "untimed")),
            }
            for server in servers.values():
                ask(server, 1)  # once to get warm
            cpu = {
                name: 1000 * min(cost.measured(ask, server, 1)["cpu_ms"] for _ in range(ROUNDS))
                for name, server in servers.items()
            }
        figures = room / f"{protocol}.json"
        with _opened(model, room, protocol, "timed", timed=figures) as server:
            asked = 0
            while asked < WARM + 2 * TIMED:
                asked += ask(server, 1).requests
        steps = json.loads(figures.read_text())
        us = steps["us"] | {REST: cpu[WHOLE] - sum(steps["us"].values())} | cpu
        print_line(protocol, *(f"{step}: {time:.1f} us" for step, time in us.items()))
        measured += [
            {"protocol": protocol, "step": step, "us": time, "calls": steps["calls"].get(step, 0.0)}
            for step, time in us.items()
        ]
    return measured


def _opened(model: dict[str, Any], room: Path, protocol: str, name: str, **options: Any) -> Any:
    place = room / f"{protocol}-{name}"
    return gateway(model, place, store=f"sqlite:{place}.db", clients=cost.CLIENTS, **options)
