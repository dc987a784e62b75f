"""Scene of two workers beside one, with the ledger in SQLite.

Each connection is one client, as those of a library that keeps its connection are. With the next client's key for each
request both workers change every account, and about half of the requests are decided twice.
"""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load import cost, load, victims
from benchmarks.load.gateways import gateway
from benchmarks.load.progress import print_line

COUNTS, ROUNDS, SECONDS, CONNECTIONS = (1, 2), 3, 3, 16


def rows(room: Path) -> list[dict[str, Any]]:
    """Return a row for each number of workers: the round with the highest rate, and its share of one worker's."""
    _, defended = victims.exported(room)
    body = load.Body.binary(victims.inputs(victims.DIFFERENT, seed=1), "x", "probabilities")
    best = dict[int, dict[str, Any]]()
    for number in range(ROUNDS):
        for count in COUNTS:  # beside each other in time: others may use the machine
            place = room / f"{count}-{number}"
            store = f"sqlite:{place}.db"
            with gateway({"path": str(defended)}, place, store=store, clients=cost.CLIENTS, workers=count) as server:
                ask = partial(
                    load.rest, server.rest, body, connections=CONNECTIONS, seconds=SECONDS, keys=server.keys, kept=True
                )
                ask()  # warm
                before = server.process.processor_seconds
                measured = ask()
                figures = load.row(measured, server.process.processor_seconds - before)
            print_line(f"round {number + 1}", f"{count} workers", f"{figures['rate']:,.0f} requests a second")
            if count not in best or figures["rate"] > best[count]["rate"]:
                best[count] = {"workers": count, "clients": CONNECTIONS} | figures
    return [row | {"throughput": row["rate"] / best[COUNTS[0]]["rate"]} for row in best.values()]
