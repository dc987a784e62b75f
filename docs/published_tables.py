"""Tables of published figures beside those measured here, for papers whose victims no suite can express."""

from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any

from benchmarks.record import RESULTS
from benchmarks.tables import autolycus2024, tramer2016
from benchmarks.tables.rows import slug
from docs.code_tables import grid

from feint.evaluation import jsonl

Rows = list[dict[str, Any]]
LABELS, PROBABILITIES = autolycus2024.ACCESS


def difference(here: float, paper: float) -> str:
    """Return the difference of two shares in points, with its sign."""
    return f"{100 * (here - paper):+.2f}"


def tramer() -> str:
    """Return the table of each theft of Tramèr et al.: queries, and agreement on test inputs and on random ones."""
    heads = "Where|Victim|Attack|Queries: paper|here|Seeds|Test inputs: paper|here|Difference|Random inputs: paper|here"
    lines: list[list[str]] = [[*heads.split("|"), "Difference"]]
    rows = jsonl.read(RESULTS / "tramer2016.jsonl")
    for theft in tramer2016.THEFTS:
        run = [row for row in rows if row["name"] in {slug(f"{theft.name}-{seed}") for seed in tramer2016.SEEDS}]
        if run:
            test, random = (mean(row[key] for row in run) for key in ("fidelity", "fidelity_random"))
            asked = mean(row["asked"] for row in run)
            lines.append([
                theft.where, theft.victim, f"`{theft.attack.split(',')[0]}`", f"{theft.queries:,}", f"{asked:,.0f}",
                f"{len(run)}", f"{theft.fidelity:.2%}", f"{test:.2%}", difference(test, theft.fidelity),
                f"{theft.fidelity_random:.2%}", f"{random:.2%}", difference(random, theft.fidelity_random),
            ])  # fmt: skip
    return grid(lines)


def autolycus() -> str:
    """Return the table of AUTOLYCUS's similarities, beside agreement without explanations at the same queries."""
    heads = "Victim|Explanations|Queries|Paper, labels and explanations|Labels alone|Difference|Probabilities|Seeds"
    lines: list[list[str]] = [[*heads.split("|")]]
    rows = jsonl.read(RESULTS / "autolycus2024.jsonl")
    for entry in autolycus2024.SIMILARITIES:
        run = {access: _similar(rows, entry, access) for access in autolycus2024.ACCESS}
        if all(run.values()):
            labels, probabilities = (mean(run[access]) for access in (LABELS, PROBABILITIES))
            lines.append([
                entry.victim, entry.explanations, f"{entry.queries:,}", f"{entry.fidelity:.1%}", f"{labels:.1%}",
                difference(labels, entry.fidelity), f"{probabilities:.1%}", f"{min(map(len, run.values()))}",
            ])  # fmt: skip
    return grid(lines)


def _similar(rows: Rows, entry: autolycus2024.Similarity, access: str) -> list[float]:
    where = entry.victim, entry.queries, access
    return [row["fidelity"] for row in rows if (row["victim"], row["asked"], row["access"]) == where]


def dadd() -> str:
    """Return the table of D-ADD's windows."""
    lines = [["Features", "Queries in a window", "Benign windows", "False alarms", "CIFAR-100 windows", "Detected"]]
    rows = jsonl.read(RESULTS / "dadd2025.jsonl")
    for row in sorted(rows, key=lambda row: (row["features"], row["window"])):
        shares = [f"{row[key]:.1%}" for key in ("false_alarms", "detected")]
        benign, attack = (f"{row[key]:,}" for key in ("benign_windows", "attack_windows"))
        lines.append([row["features"], f"{row['window']}", benign, shares[0], attack, shares[1]])
    return grid(lines)


TABLES: Mapping[str, Callable[[], str]] = {
    "published_tramer2016": tramer, "published_autolycus2024": autolycus, "published_dadd2025": dadd
}  # fmt: skip
