"""Tables of results/load.json: costs of the gateway, and losses when a process is killed."""

from collections.abc import Callable
from functools import partial

from docs.tables.rows import grid, recorded

rows_of = partial(recorded, "load.json")  # of a scene
ADDED = {"binary": (0.30, 0.18), "JSON": (0.40, 0.28), "gRPC": (0.45, 0.22)}
# ms of processor time that a request may cost more than at a bare server, with SQLite: of one client, of 8 and 16
REDIS = 0.1  # ms more
IN_PROCESS, IN_FRONT = 0.75, 0.65  # shares of throughput that must be left
TWO = 1.7  # times the throughput of one worker
P50, P99 = 1.0, 5.0  # ms that may be added in front of another server
FLAT = 1.05  # memory at the end beside that of half the time: the gateway first fills what it may remember


def cost() -> str:
    """Return the table of the processor time that the gateway adds to a request, beside a bare server."""
    rows = [["Server", "Asked by", "Clients", "CPU ms a request", "Added", "Requests a second", "p50 ms", "p99 ms"]]
    for row in rows_of("cost"):
        added = "" if row["server"] == "bare" else f"{row['added_ms']:.3f}"
        times = (f"{row[key]:.2f}" for key in ("p50_ms", "p99_ms"))
        asked = row["server"], row["protocol"], str(row["clients"])
        rows.append([*asked, f"{row['cpu_ms']:.3f}", added, f"{row['rate']:,.0f}", *times])
    return grid(rows)


def profile() -> str:
    """Return the table of the steps of one request after the other: microseconds and calls of functions."""
    by = {(row["step"], row["protocol"]): row for row in rows_of("profile")}
    protocols = dict.fromkeys(protocol for _, protocol in by)
    heads = [head for protocol in protocols for head in (f"{protocol}, µs", "calls")]
    rows = [["Step", *heads]]
    for step in dict.fromkeys(step for step, _ in by):
        cells = [by[step, protocol] for protocol in protocols]
        figures = ([f"{row[key]:.0f}" if row[key] else "" for key in ("us", "calls")] for row in cells)
        rows.append([step, *(figure for pair in figures for figure in pair)])
    return grid(rows)


def workers() -> str:
    """Return the table of two workers beside one."""
    rows = [["Workers", "Clients", "Requests a second", "Times one worker", "CPU ms a request", "p50 ms", "p99 ms"]]
    for row in rows_of("workers"):
        times = (f"{row[key]:.2f}" for key in ("p50_ms", "p99_ms"))
        rate = f"{row['rate']:,.0f}", f"{row['throughput']:.2f}", f"{row['cpu_ms']:.3f}"
        rows.append([str(row["workers"]), str(row["clients"]), *rate, *times])
    return grid(rows)


def front() -> str:
    """Return the table of a gateway in front of MLServer, beside MLServer alone."""
    rows = [["Way", "Clients", "Requests a second", "Share of direct", "p50 ms", "added", "p99 ms", "added"]]
    for row in rows_of("front"):
        times = (f"{row[key]:.2f}" for key in ("p50_ms", "added_p50_ms", "p99_ms", "added_p99_ms"))
        rows.append([row["server"], str(row["clients"]), f"{row['rate']:,.0f}", f"{row['throughput']:.2f}", *times])
    return grid(rows)


def faults() -> str:
    """Return the table of answers beside charges, when a process was killed under load."""
    heads = "Killed under load|Answered|Charged|Lost|Charged, not answered|In flight|Undefended|Recovery, s"
    counts = "answered", "charged", "lost", "extra", "in_flight", "undefended"
    rows = [heads.split("|")]
    for row in rows_of("faults"):
        rows.append([row["fault"], *(f"{row[key]:,}" for key in counts), f"{row['recovery_s']:.2f}"])
    return grid(rows)


def memory() -> str:
    """Return the table of a gateway's resident memory, a row a minute."""
    rows = [["Minute", "MiB", "Clients in the ledger", "Requests a second", "p99 ms"]]
    for row in rows_of("memory")[3::4]:
        figures = f"{row['minute']:.1f}", f"{row['memory_mib']:.1f}", f"{row['clients']:,}", f"{row['rate']:,.0f}"
        rows.append([*figures, f"{row['p99_ms']:.1f}"])
    return grid(rows)


def targets() -> str:
    """Return the table of targets: the worst measurement of each, and whether it meets the target."""
    return grid([["Target", "Worst measured", ""], *(_target(*target) for target in (*_of_cost(), *_of_the_rest()))])


def _target(target: str, unit: str, worst: float, met: bool) -> list[str]:
    return [target, f"{worst:.3g} {unit}".strip(), "met" if met else "**missed**"]


def _of_cost() -> list[tuple[str, str, float, bool]]:
    at = {(row["server"], row["protocol"], row["clients"]): row for row in rows_of("cost")}
    rows = list[tuple[str, str, float, bool]]()
    for protocol, (alone, many) in ADDED.items():
        clients = sorted({n for _, asked_by, n in at if asked_by == protocol})
        if not clients:
            continue
        sqlite, redis = ([at[f"gateway, {store}", protocol, n] for n in clients] for store in ("SQLite", "Redis"))
        first, added = sqlite[0]["added_ms"], max(row["added_ms"] for row in sqlite[1:])
        more = max(b["cpu_ms"] - a["cpu_ms"] for a, b in zip(sqlite, redis, strict=True))
        bare = [at["gateway, no defense", protocol, n]["rate"] for n in clients]
        share = min(row["rate"] / rate for row, rate in zip(sqlite, bare, strict=True))
        rows += [
            (f"{protocol}: adds ≤ {alone} ms with SQLite at one client", "ms", first, first <= alone),
            (f"{protocol}: adds ≤ {many} ms at 8 and 16", "ms", added, added <= many),
            (f"{protocol}: ≤ {REDIS} ms more with Redis", "ms", more, more <= REDIS),
            (f"{protocol}: ≥ {IN_PROCESS} × the throughput without defense", "×", share, share >= IN_PROCESS),
        ]
    return rows


def _of_the_rest() -> list[tuple[str, str, float, bool]]:
    before, faults, memory = (
        [row for row in rows_of("front") if row["server"].startswith("gateway")], rows_of("faults"), rows_of("memory"),
    )  # fmt: skip
    rows = list[tuple[str, str, float, bool]]()
    if several := rows_of("workers"):
        times = several[-1]["throughput"]
        rows.append((f"two workers: ≥ {TWO} × one", "×", times, times >= TWO))
    if before:
        share = min(row["throughput"] for row in before if row["clients"] == 1)
        p50, p99 = (max(row[key] for row in before) for key in ("added_p50_ms", "added_p99_ms"))
        rows += [
            (f"in front of MLServer: ≥ {IN_FRONT} × direct at one client", "×", share, share >= IN_FRONT),
            (f"adds ≤ {P50:g} ms to its median", "ms", p50, p50 <= P50),
            (f"adds ≤ {P99:g} ms to its 99th percentile", "ms", p99, p99 <= P99),
        ]
    if faults:
        lost, undefended = (sum(row[key] for row in faults) for key in ("lost", "undefended"))
        beyond = max(row["extra"] - row["in_flight"] for row in faults)
        rows += [
            ("killed: no charge lost", "", lost, not lost),
            ("charged beyond those in flight: none", "", max(0, beyond), beyond <= 0),
            ("no undefended answer", "", undefended, not undefended),
        ]
    if memory:
        grown = memory[-1]["memory_mib"] / memory[len(memory) // 2]["memory_mib"]
        rows.append((f"memory flat: ≤ {FLAT} × that of half the time", "×", grown, grown <= FLAT))
    return rows


TABLES: dict[str, Callable[[], str]] = {
    "load_targets": targets,
    "load": cost,
    "load_profile": profile,
    "load_workers": workers,
    "load_front": front,
    "load_faults": faults,
    "load_memory": memory,
}
