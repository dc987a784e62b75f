"""Tables of claims, from results/claims.jsonl."""

from collections.abc import Callable, Iterable, Mapping
from math import log
from statistics import median
from typing import Any

Row = Mapping[str, Any]
Grid = list[list[str]]
MARKS = "same mistakes", "triggers", "together"


def copies(rows: Iterable[Row]) -> Grid:
    """Return the table of copies: how many of each kind are claimed, by each mark."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row["kind"] == "copy":
            behind = f" behind {row['defense']}" if row["defense"] else ""
            key = row["data"], f"{row['answers']}{behind}", row["network"], f"{row['queries']:,}"
            groups.setdefault(key, []).append(row)
    heads = ["Set", "Copy by", "Network", "Queries", "Fidelity", *(f"Claimed by {mark}" for mark in MARKS), "Asked"]
    shown = [heads]
    for key, group in groups.items():
        fidelity = sum(row["fidelity"] for row in group) / len(group)
        claimed = [f"{sum(row[mark]['claimed'] for row in group if mark in row)} of {len(group)}" for mark in MARKS]
        asked = sum(row["together"]["asked"] for row in group) / len(group)
        shown.append([*key, f"{fidelity:.1%}", *claimed, f"{asked:,.0f}"])
    return shown


def removals(rows: Iterable[Row]) -> Grid:
    """Return the table of what an attacker does to copies, and how many are claimed afterwards."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row["kind"] == "removal":
            groups.setdefault((row["data"], row["removal"], row["answers"]), []).append(row)
    shown = [["Set", "Removal", "Copy by", "Accuracy before", "after", "Median e-value", "Claimed"]]
    for key, group in groups.items():
        before, after = (sum(row[name] for row in group) / len(group) for name in ("before", "accuracy"))
        claimed = f"{sum(row['together']['claimed'] for row in group)} of {len(group)}"
        power = _power(median(row["together"]["log_e"] for row in group))
        shown.append([*key, f"{before:.1%}", f"{after:.1%}", power, claimed])
    return shown


def served(rows: Iterable[Row]) -> Grid:
    """Return the table of marked answers and trained marks."""
    heads = ["Set", "Mark", "Copy by", "Fidelity", "Marked inputs", "Copy agrees", "Highest control", "e-value"]
    shown = [[*heads, "Claimed", "Accounts named"]]
    for row in rows:
        kind = row["kind"]
        if kind not in ("marked answers", "trained mark"):
            continue
        together = row["together"]
        what = _accounts(row) if kind == "marked answers" else _margin(row["step"])
        named = f"{row['named']} of {row['sybils']}" if kind == "marked answers" else ""
        shown.append([
            row["data"], what, row["answers"], f"{row['fidelity']:.1%}", f"{together['compared']:,}",
            f"{together['agreed']:,}", f"{together['highest_control']:.0%}", _power(together["log_e"]),
            "yes" if together["claimed"] else "no", named,
        ])  # fmt: skip
    return shown


def innocents(rows: Iterable[Row]) -> Grid:
    """Return the table of innocents: how many would be claimed, each against all others."""
    shown = [["Set", "Innocents", "Their accuracy", "Claimed", "Bound, 95 % confidence"]]
    for row in rows:
        if row["kind"] == "innocents":
            accuracy = f"{row['least accuracy']:.1%} to {row['greatest accuracy']:.1%}"
            together = row["together"]
            bound = f"{together['bound']:.2%}"
            shown.append([row["data"], f"{row['controls']}", accuracy, f"{together['false_claims']}", bound])
    return shown


def _accounts(row: Row) -> str:
    count = row["sybils"]
    accounts = f"Marked, {count} account{'s' if count > 1 else ''}"
    return f"{accounts}, {row['training']}" if row["training"] else accounts


def _margin(step: float) -> str:
    return f"MarginWatermark, step {step * 255:.0f}/255" if step else "backdoor without a margin"


def _power(log_e: float) -> str:
    return f"10^{log_e / log(10):.1f}"


def false_claims(rows: Iterable[Row]) -> Grid:
    """Return the table of false claims, by triggers that transfer to a victim that is not the accuser's."""
    shown = [["Set", "Triggers", "Victim agrees", "Highest control", "e-value", "Claimed"]]
    for row in rows:
        if row["kind"] == "false claim":
            result = row["together"]
            shown.append([
                row["data"], f"{result['compared']:,}", f"{result['agreed'] / result['compared']:.0%}",
                f"{result['highest_control']:.0%}", _power(result["log_e"]), "yes" if result["claimed"] else "no",
            ])  # fmt: skip
    return shown


TABLES: dict[str, Callable[[Iterable[Row]], Grid]] = {
    "claims_copies": copies,
    "claims_removals": removals,
    "claims_served": served,
    "claims_innocents": innocents,
    "claims_false": false_claims,
}
