"""Tables of claims of ownership, from results/claims.jsonl."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import log
from statistics import mean, median
from typing import Any

from docs.tables.rows import grid, rows_of

from feint.defenses.access.binomial import upper_bound

Row = Mapping[str, Any]
Grid = list[list[str]]
FIDELITIES = 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.0  # least of each row of the table by fidelity
SHARING = 2, 3, 5, 10  # accounts
MARKS = "same mistakes", "triggers", "together"


def copies(rows: Iterable[Row]) -> Grid:
    """Return the table of copies: how many of each kind are claimed, by each mark."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row["kind"] == "copy":
            key = row["data"], _answers(row), row["network"], f"{row['queries']:,}"
            groups.setdefault(key, []).append(row)
    heads = ["Set", "Copy by", "Network", "Queries", "Fidelity", *(f"Claimed by {mark}" for mark in MARKS), "Asked"]
    shown = [heads]
    for key, group in groups.items():
        fidelity = sum(row["fidelity"] for row in group) / len(group)
        claimed = [f"{sum(row[mark]['claimed'] for row in group if mark in row)} of {len(group)}" for mark in MARKS]
        asked = sum(row["together"]["asked"] for row in group) / len(group)
        shown.append([*key, f"{fidelity:.1%}", *claimed, f"{asked:,.0f}"])
    return shown


def _answers(row: Row) -> str:
    """Return of which answers a copy was made: of a set whose pool is of another task, to which images."""
    behind = f" behind {row['defense']}" if row["defense"] else ""
    return f"{row['answers']}{behind}{', images of the task' if row.get('pool') == 'train' else ''}"


def fidelities(rows: Iterable[Row]) -> Grid:
    """Return the share of copies, and of changed files, that are claimed, by their fidelity."""
    groups: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        if row["kind"] in ("copy", "file"):
            step = next(i for i, least in enumerate(FIDELITIES) if row["fidelity"] >= least)
            groups.setdefault(row["data"], {}).setdefault(step, []).append(row)
    shown = [["Set", "Fidelity", "Copies", "Claimed", "Share claimed, 95 % confidence", "Median e-value"]]
    for data, steps in groups.items():
        for step, group in sorted(steps.items()):
            count, claimed = len(group), sum(row["together"]["claimed"] for row in group)
            most = FIDELITIES[step - 1] if step else 1
            low, high = 1 - upper_bound(count - claimed, count, 0.975), upper_bound(claimed, count, 0.975)
            power = _power(median(row["together"]["log_e"] for row in group))
            within = f"{FIDELITIES[step]:.0%} to {most:.0%}"
            shown.append([data, within, f"{count}", f"{claimed}", f"{low:.0%} to {high:.0%}", power])
    return shown


def published(rows: Iterable[Row]) -> Grid:
    """Return the table of suspects of a published victim, each by itself: copies, its file, and innocents."""
    marks = [f"{mark.capitalize()}: agrees, highest control" for mark in MARKS[:2]]
    shown = [["Suspect", "Accuracy", "Fidelity", *marks, "e-value", "Claimed", "e-value beside trained controls alone"]]
    suspects = [row for row in rows if "beside trained controls" in row and row["kind"] in ("copy", "file", "innocent")]
    for row in sorted(suspects, key=lambda row: row["fidelity"], reverse=True):
        parts, together = [row[mark] for mark in MARKS[:2]], row["together"]
        agreed = [f"{part['agreed']:,} of {part['compared']:,}, {part['highest_control']:.0%}" for part in parts]
        shown.append([
            _suspect(row), f"{row['accuracy']:.1%}", f"{row['fidelity']:.1%}", *agreed, _power(together["log_e"]),
            "yes" if together["claimed"] else "no", _power(row["beside trained controls"]["log_e"]),
        ])  # fmt: skip
    return shown


def _suspect(row: Row) -> str:
    """Return what a suspect is."""
    if row["kind"] == "innocent":
        return f"innocent: {row['innocent']}"
    if row["kind"] == "file":
        return f"the file, {row['removal'] or 'as it is'}"
    return f"copy by {row['queries']:,} {_answers(row)}"


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


def shared(rows: Iterable[Row]) -> Grid:
    """Return the table of all marked answers of a theft, and of accounts that share them."""
    heads = ["Set", "Mark", "Copy by", "Marks", "Copy agrees", "Highest control", "e-value of all"]
    shown = [[*heads, *(f"Named of {accounts} accounts" for accounts in SHARING)]]
    for row in rows:
        if row["kind"] == "shared marks":
            named = {
                point["accounts"]: f"{point['named']:.1f} · {point['named by e-BH']:.1f}" for point in row["curve"]
            }
            shown.append([
                row["data"], _marking(row), row["answers"], f"{row['marked']}", f"{row['agreed']}",
                f"{row['highest_control']:.0%}", _power(row["log_e"]), *(named[accounts] for accounts in SHARING),
            ])  # fmt: skip
    return shown


def students(rows: Iterable[Row]) -> Grid:
    """Return the table of students: how many copies are claimed, and networks that learned the answers of copies."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row["kind"] == "student":
            groups.setdefault((row["data"], row["network"], row["answers"]), []).append(row)
    heads = ["Set", "Network", "Copy by", "Accuracy", "Fidelity", "Triggers: agrees", "Highest control"]
    shown = [[*heads, "Median e-value", "Claimed by triggers", "Asked"]]
    for key, group in groups.items():
        parts = [row["triggers"] for row in group]
        agreed, highest = (part["agreed"] / part["compared"] for part in parts), [p["highest_control"] for p in parts]
        shown.append([
            *key, f"{mean(row['accuracy'] for row in group):.1%}", f"{mean(row['fidelity'] for row in group):.1%}",
            f"{mean(agreed):.0%}", f"{max(highest):.0%}", _power(median(part["log_e"] for part in parts)),
            f"{sum(part['claimed'] for part in parts)} of {len(parts)}",
            f"{mean(part['asked'] for part in parts):,.0f}",
        ])  # fmt: skip
    return shown


def innocent_students(rows: Iterable[Row]) -> Grid:
    """Return the table of innocents in the networks of students."""
    shown = [["Set", "Innocents", "Number", "Claimed", "Highest e-value"]]
    for row in rows:
        if row["kind"] != "innocent students":
            continue
        data, claimed = row["data"], f"{row['false claims']}"
        shown.append([data, "controls, each beside the others", f"{row['controls']}", claimed, ""])
        for name, learned in (("another network", "the task"), ("student", "a control's answers")):
            part, what = row[name], f"{row['network']} that learned {learned}"
            shown.append([data, what, f"{part['suspects']}", f"{part['claimed']}", _power(part["log_e"])])
    return shown


def rehearsed(rows: Iterable[Row]) -> Grid:
    """Return the table of how often models agree with triggers that were chosen by some of them."""
    shown = [["Set", "Models", "Network", "Number", "Agree with triggers: mean", "least", "most"]]
    for row in rows:
        if row["kind"] == "rehearsal":
            shown += [
                [row["data"], group["role"], group["network"], f"{group['models']}",
                 *(f"{group[name]:.0%}" for name in ("mean", "least", "most"))]
                for group in row["groups"]
            ]  # fmt: skip
    return shown


def costs(rows: Iterable[Row]) -> Grid:
    """Return the table of what marked answers cost honest clients, over many keys."""
    heads = ["Set", "Marked", "Inputs", "Keys", "Marked answers", "Points lost, mean", "Standard deviation over keys"]
    shown = [[*heads, "95 % of keys", "Keys that lose more than half a point"]]
    for row in rows:
        if row["kind"] == "honest cost":
            what = f"{'unsure answers' if row['margin'] else 'any answer'}, rate {row['rate']:g}"
            shown.append([
                row["data"], what, f"{row['inputs']:,}", f"{row['keys']}", f"{row['marked']:.2%}",
                f"{row['points']:.2f}", f"{row['deviation']:.2f}", f"≤ {row['most']:.2f}",
                f"{row['above half a point']:.0%}",
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
    return _marking(row, f", {row['sybils']} account{'s' if row['sybils'] > 1 else ''}")


def _marking(row: Row, accounts: str = "") -> str:
    """Return how answers were marked, for which accounts, and how a copy was trained on them."""
    training = f", {row['training']}" if row["training"] else ""
    return f"Marked{', unsure answers' if row.get('margin') else ''}{accounts}{training}"


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


_TABLES: Mapping[str, Callable[[Iterable[Row]], Grid]] = {
    "claims_copies": copies,
    "claims_fidelity": fidelities,
    "claims_published": published,
    "claims_removals": removals,
    "claims_served": served,
    "claims_shared": shared,
    "claims_students": students,
    "claims_innocent_students": innocent_students,
    "claims_rehearsed": rehearsed,
    "claims_marked_cost": costs,
    "claims_innocents": innocents,
    "claims_false": false_claims,
}


def _written(table: Callable[[Iterable[Row]], Grid]) -> str:
    """Return one of these tables of the published rows."""
    return grid(table(rows_of("claims")))


TABLES = {name: partial(_written, table) for name, table in _TABLES.items()}
