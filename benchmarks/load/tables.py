"""The tables of results/load.json: what the gateway costs, and what was lost when something died."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.record import RESULTS

FILE = RESULTS / "load.json"
BINARY, JSON = 0.12, 0.25  # ms of processor time a request that the ledger in SQLite may add
REDIS = 0.1  # ms more
IN_PROCESS, IN_FRONT = 0.8, 0.75  # shares of throughput that must be left
P50, P99 = 1.0, 5.0  # ms that may be added in front of another server
FLAT = 1.05  # memory at the end beside that of half the time: the gateway first fills what it may remember


def rows_of(scene: str) -> list[dict[str, Any]]:
    """The rows of a scene; none where it was not run."""
    return json.loads(FILE.read_text()).get(scene, {}).get("rows", []) if FILE.exists() else []


def grid(rows: list[list[str]]) -> str:
    """Cells as a table of Markdown, heads first."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def cost() -> str:
    """What the gateway adds to a request, beside a bare server of the same kind: processor time."""
    rows = [["Server", "Asked by", "Clients", "CPU ms a request", "Added", "Requests a second", "p50 ms", "p99 ms"]]
    for row in rows_of("cost"):
        added = "" if row["server"] == "bare" else f"{row['added_ms']:.3f}"
        times = (f"{row[it]:.2f}" for it in ("p50_ms", "p99_ms"))
        asked = row["server"], row["protocol"], str(row["clients"])
        rows.append([*asked, f"{row['cpu_ms']:.3f}", added, f"{row['rate']:,.0f}", *times])
    return grid(rows)


def front() -> str:
    """A gateway in front of MLServer, beside MLServer asked directly."""
    rows = [["Way", "Clients", "Requests a second", "Share of direct", "p50 ms", "added", "p99 ms", "added"]]
    for row in rows_of("front"):
        times = (f"{row[it]:.2f}" for it in ("p50_ms", "added_p50_ms", "p99_ms", "added_p99_ms"))
        rows.append([row["server"], str(row["clients"]), f"{row['rate']:,.0f}", f"{row['throughput']:.2f}", *times])
    return grid(rows)


def faults() -> str:
    """Answers at the clients beside charges in the ledger, when something was killed under load."""
    heads = "Killed under load|Answered|Charged|Lost|Charged, not answered|In flight|Undefended|Recovery, s"
    counts = "answered", "charged", "lost", "extra", "in_flight", "undefended"
    rows = [[it["fault"], *(f"{it[key]:,}" for key in counts), f"{it['recovery_s']:.2f}"] for it in rows_of("faults")]
    return grid([heads.split("|"), *rows])


def memory() -> str:
    """Resident memory of a gateway, a row a minute."""
    rows = [["Minute", "MiB", "Clients in the ledger", "Requests a second", "p99 ms"]]
    for row in rows_of("memory")[3::4]:
        figures = f"{row['minute']:.1f}", f"{row['memory_mib']:.1f}", f"{row['clients']:,}", f"{row['rate']:,.0f}"
        rows.append([*figures, f"{row['p99_ms']:.1f}"])
    return grid(rows)


def targets() -> str:
    """What was to be reached, the worst that was measured, and whether it was."""
    return grid([["Target", "Worst measured", ""], *(_said(*it) for it in (*_of_cost(), *_of_the_rest()))])


def _said(target: str, unit: str, worst: float, met: bool) -> list[str]:
    return [target, f"{worst:.3g} {unit}".strip(), "met" if met else "**missed**"]


def _of_cost() -> list[tuple[str, str, float, bool]]:
    at = {(it["server"], it["protocol"], it["clients"]): it for it in rows_of("cost")}
    said = list[tuple[str, str, float, bool]]()
    for protocol, most in {"binary": BINARY, "gRPC": BINARY, "JSON": JSON}.items():
        clients = sorted({n for _, asked_by, n in at if asked_by == protocol})
        if not clients:
            continue
        kept, shared, alone = (
            [at[f"gateway, {it}", protocol, n] for n in clients] for it in ("SQLite", "Redis", "in memory")
        )
        added = max(it["added_ms"] for it in kept)
        more = max(b["cpu_ms"] - a["cpu_ms"] for a, b in zip(kept, shared, strict=True))
        bare = [at["gateway, no defense", protocol, n]["rate"] for n in clients]
        share = min(it["rate"] / rate for it, rate in zip(alone, bare, strict=True))
        said += [
            (f"{protocol}: adds ≤ {most} ms with SQLite", "ms", added, added <= most),
            (f"{protocol}: ≤ {REDIS} ms more with Redis", "ms", more, more <= REDIS),
            (f"{protocol}: ≥ {IN_PROCESS} × the throughput without defense", "×", share, share >= IN_PROCESS),
        ]
    return said


def _of_the_rest() -> list[tuple[str, str, float, bool]]:
    before, faults, memory = (
        [it for it in rows_of("front") if it["server"] != "MLServer"], rows_of("faults"), rows_of("memory"),
    )  # fmt: skip
    said = list[tuple[str, str, float, bool]]()
    if before:
        share = min(it["throughput"] for it in before)
        p50, p99 = (max(it[key] for it in before) for key in ("added_p50_ms", "added_p99_ms"))
        said += [
            (f"in front of MLServer: ≥ {IN_FRONT} × direct", "×", share, share >= IN_FRONT),
            (f"adds ≤ {P50:g} ms to its median", "ms", p50, p50 <= P50),
            (f"adds ≤ {P99:g} ms to its 99th percentile", "ms", p99, p99 <= P99),
        ]
    if faults:
        lost, undefended = (sum(it[key] for it in faults) for key in ("lost", "undefended"))
        beyond = max(it["extra"] - it["in_flight"] for it in faults)
        said += [
            ("killed: no charge lost", "", lost, not lost),
            ("charged beyond those in flight: none", "", max(0, beyond), beyond <= 0),
            ("no undefended answer", "", undefended, not undefended),
        ]
    if memory:
        grown = memory[-1]["memory_mib"] / memory[len(memory) // 2]["memory_mib"]
        said.append((f"memory flat: ≤ {FLAT} × that of half the time", "×", grown, grown <= FLAT))
    return said


TABLES: dict[str, Callable[[], str]] = {
    "load_targets": targets,
    "load": cost,
    "load_front": front,
    "load_faults": faults,
    "load_memory": memory,
}
