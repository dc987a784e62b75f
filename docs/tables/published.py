"""Tables of published figures beside those measured here, and of audits beside suites."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import mean, median
from typing import Any, NamedTuple

from benchmarks.record import RESULTS
from benchmarks.tables import autolycus2024, tramer2016
from benchmarks.tables.rows import slug
from docs.tables.rows import grid

from feint.bench import load
from feint.bench.schema import ExpectedEntry
from feint.evaluation import jsonl
from feint.evaluation.results import Results
from feint.evaluation.robust import attackers, robust
from feint.evaluation.significance import LEVEL, variance
from feint.report.published import measured

Rows = list[dict[str, Any]]
LABELS, PROBABILITIES = autolycus2024.ACCESS
SUITES = "praetorian2026", "mad2020_table1", "apgp2023_table1", "apmsa2023_table2"


class Figure(NamedTuple):
    """A published share, and the one measured here."""

    where: str
    paper: float
    here: float


def difference(here: float, paper: float) -> str:
    """Return the difference of two shares in points, with its sign."""
    return f"{100 * (here - paper):+.2f}"


def summary() -> str:
    """Return the table of sources: how many of their figures were made again, and how near ours are."""
    lines = [["Source", "Figures", "Within a point", "Median difference", "Furthest behind", "Where"]]
    for source, figures in FIGURES.items():
        compared = list(figures())
        if compared:
            least = min(compared, key=lambda figure: figure.here - figure.paper)
            near = sum(abs(figure.here - figure.paper) <= 0.01 for figure in compared)
            middle = difference(median(figure.here - figure.paper for figure in compared), 0)
            furthest = difference(least.here, least.paper)
            lines.append([source, f"{len(compared)}", f"{near}", middle, furthest, least.where])
    return grid(lines)


def suite(name: str) -> str:
    """Return the table of a suite's published values beside the measured ones."""
    lines = [["Victim", "Defense", "Attack", "Queries", "What", "Published", "Measured", "Difference"]]
    for entry, here in _measured(name):
        shares = f"{entry.value:.2%}", f"{here:.2%}", difference(here, entry.value)
        budget = f"{entry.budget:,}" if entry.budget else ""
        lines.append([entry.victim, entry.defense, entry.attack, budget, _score(entry), *shares])
    return grid(lines)


def _measured(name: str) -> Iterator[tuple[ExpectedEntry, float]]:
    """Yield the published values of a suite that were measured, and what was."""
    file = RESULTS / f"{name}.jsonl"
    if file.exists():
        results = Results.load(file)
        for entry in load(name).expected:
            here = measured(results.on(entry.victim), entry)
            if here is not None:
                yield entry, here


def _score(entry: ExpectedEntry) -> str:
    return entry.score.replace("_", " ").capitalize()


def _suite_figures(name: str) -> Iterator[Figure]:
    for entry, here in _measured(name):
        where = ", ".join(filter(None, [entry.victim, entry.defense, entry.attack, _score(entry).lower()]))
        yield Figure(where, entry.value, here)


def _tramer_runs() -> Iterator[tuple[tramer2016.Theft, Rows]]:
    rows = jsonl.read(RESULTS / "tramer2016.jsonl")
    for theft in tramer2016.THEFTS:
        run = [row for row in rows if row["name"] in {slug(f"{theft.name}-{seed}") for seed in tramer2016.SEEDS}]
        if run:
            yield theft, run


def _tramer_figures() -> Iterator[Figure]:
    for theft, run in _tramer_runs():
        yield Figure(f"{theft.victim}, test inputs", theft.fidelity, mean(row["fidelity"] for row in run))
        random = mean(row["fidelity_random"] for row in run)
        yield Figure(f"{theft.victim}, random inputs", theft.fidelity_random, random)


def _autolycus_figures() -> Iterator[Figure]:
    for entry, run in _autolycus_runs():
        yield Figure(f"{entry.victim}, {entry.queries:,} queries", entry.fidelity, mean(run[LABELS]))


def _autolycus_runs() -> Iterator[tuple[autolycus2024.Similarity, dict[str, list[float]]]]:
    rows = jsonl.read(RESULTS / "autolycus2024.jsonl")
    for entry in autolycus2024.SIMILARITIES:
        run = {access: _similar(rows, entry, access) for access in autolycus2024.ACCESS}
        if all(run.values()):
            yield entry, run


def tramer() -> str:
    """Return the table of each theft of Tramèr et al.: queries, and agreement on test inputs and on random ones."""
    heads = "Where|Victim|Attack|Queries: paper|here|Seeds|Test inputs: paper|here|Difference|Random inputs: paper|here"
    lines: list[list[str]] = [[*heads.split("|"), "Difference"]]
    for theft, run in _tramer_runs():
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
    for entry, run in _autolycus_runs():
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


def audits() -> str:
    """Return the table of audits beside the suites that attack the same victims."""
    lines = [["Victim", "Defense", "Queries", "Audit", "Suite", "Difference", "Noise", "Judging inputs"]]
    for case in audited():
        shown = f"{case.cell['stealer_accuracy']:.1%} ({100 * case.cell['low']:.1f}–{100 * case.cell['high']:.1f})"
        behind = difference(case.cell["stealer_accuracy"], case.suite)
        counts = f"{case.cell['budget']:,}", shown, f"{case.suite:.1%}", behind, f"± {100 * case.noise:.1f}"
        lines.append([case.data, case.cell["defense"], *counts, f"{case.cell['n_test']:,}"])
    return grid(lines)


class Audited(NamedTuple):
    """Worst case of an audit, with that of the suite on the same victim, and the noise between the two."""

    data: str
    cell: dict[str, Any]
    suite: float
    noise: float


def audited() -> Iterator[Audited]:
    """Yield the worst cases of audits whose suite has a worst case."""
    for row in jsonl.read(RESULTS / "audits.jsonl"):
        results = Results.load(RESULTS / f"{row['suite']}.jsonl").on(row["victim"])
        for cell in row["cells"]:
            worst = robust(results, cell["defense"], cell["budget"])
            if worst is not None:
                rows = attackers(results, cell["defense"], cell["budget"])[worst.attack]
                noise = LEVEL * (cell["variance"] + variance(rows)) ** 0.5
                yield Audited(row["data"], cell, worst.share, noise)


FIGURES: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "{cite:t}`tramer2016stealing`": _tramer_figures,
    "{cite:t}`oksuz2024autolycus`": _autolycus_figures,
    "{cite:t}`praetorian2026stealing`": partial(_suite_figures, "praetorian2026"),
    "{cite:t}`orekondy2020prediction`": partial(_suite_figures, "mad2020_table1"),
    "{cite:t}`cheng2023apgp`": partial(_suite_figures, "apgp2023_table1"),
    "{cite:t}`zhang2023apmsa`": partial(_suite_figures, "apmsa2023_table2"),
}
TABLES: Mapping[str, Callable[[], str]] = {
    "published_summary": summary,
    "published_tramer2016": tramer,
    "published_autolycus2024": autolycus,
    "published_dadd2025": dadd,
    "audits": audits,
    **{f"published_{name}": partial(suite, name) for name in SUITES},
}
