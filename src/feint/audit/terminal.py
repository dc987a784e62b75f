"""An audit on one screen: at most 40 lines of 100 columns."""

import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from feint.audit.files import JSON, PAGE, REPORT, SETTINGS
from feint.audit.findings import AttackResult, DefenseEffect, Findings
from feint.audit.run import Audit, Work
from feint.audit.standards import findings
from feint.audit.text import AuditText
from feint.bench.matrix import lens_of
from feint.evaluation.robust import Robust
from feint.victims import FromAnswers

WIDTH = 100


class _Page:
    """Lines of text and tables, laid out by the width that characters take."""

    def __init__(self) -> None:
        self._console = Console(width=WIDTH, file=io.StringIO(), highlight=False, markup=False, emoji=False)

    def say(self, text: str) -> None:
        self._console.print(text)

    def line(self, text: str) -> None:
        self._console.print(text, no_wrap=True, overflow="ellipsis", crop=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> None:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for i, head in enumerate(heads):
            table.add_column(head, justify="left" if i in left else "right", no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    @property
    def text(self) -> str:
        file = self._console.file
        return "\n".join(it.rstrip() for it in file.getvalue().splitlines()) if isinstance(file, io.StringIO) else ""


def plan(work: Work, say: AuditText) -> str:
    """What is going to be run, and how the samples came to be."""
    size, page = work.plan.size, _Page()
    page.say(
        say(
            "plan", cells=len(work.cells), minutes=f"{work.plan.seconds / 60:.1f}", surrogate=work.plan.surrogate.name,
            budgets=", ".join(f"{it:,}" for it in size.budgets), seeds=say("seeds", seeds=size.seeds),
            tried=", ".join(work.tried),
        )
    )  # fmt: skip
    for note in map(say.note, work.notes):
        page.say(note)
    return page.text


def screen(name: str, audit: Audit, found: Findings, say: AuditText, folder: Path) -> str:
    """The whole audit, whose files are in `folder`."""
    page = _Page()
    page.say(title(name, audit, found, say))
    if found.missing:
        page.say(say("partial", missing=found.missing, cells=len(audit.work.cells)))
    for error in found.failures[:2]:
        page.line(say("failure", error=error))
    if isinstance(audit.victim, FromAnswers):
        page.say(say("simulated", sent=f"{audit.victim.asked:,}"))
    _thefts(page, found, say)
    _changes(page, found, say)
    page.say("")
    page.say(say.decision(found))
    page.say(say.limit(found))
    page.say(say("said", n=f"{found.n:,}", count=len(found.attackers), seeds=say("seeds", seeds=found.seeds)))
    page.say(say("flags", flags=", ".join(found.flags)) if found.flags else say("flags none"))
    page.say("")
    page.say(say("standards"))
    for it in findings(found, say):
        page.line(f"{it.id:20} {it.evidenced or say('nothing')}")
    page.say(say("settings", file=folder / SETTINGS))
    page.say(say("report", page=folder / PAGE, report=REPORT, json=JSON))
    return page.text


def title(name: str, audit: Audit, found: Findings, say: AuditText) -> str:
    """Which model this is, in a sentence."""
    utility = found.utility.get("victim_accuracy")
    accuracy = "–" if utility is None else f"{utility:.1%}"
    return say("title", name=name, classes=audit.work.plan.surrogate.classes, accuracy=accuracy, n=f"{found.n:,}")


def _thefts(page: _Page, found: Findings, say: AuditText) -> None:
    if found.thefts:
        heads = theft_heads(found, say)
        page.say("\n" + say("thefts", count=len(found.attackers)))
        page.table(heads, [theft(it) for it in found.thefts], [len(heads) - 1])


def theft_heads(found: Findings, say: AuditText) -> list[str]:
    """The heads of the table of thefts."""
    price = [] if found.thefts[0].price is None else [say("price")]
    return [say("queries"), *price, say("copy"), say("fidelity"), say("worst")]


def theft(it: AttackResult) -> list[str]:
    """A line of the table of thefts."""
    price = [] if it.price is None else [f"{it.price:,.2f}"]
    return [f"{it.budget:,}", *price, _case(it.stealer_accuracy), _case(it.fidelity), it.stealer_accuracy.attack]


def _changes(page: _Page, found: Findings, say: AuditText) -> None:
    if found.changes:
        page.say("\n" + say("changes", budget=f"{found.changes[0].thefts[-1].budget:,}"))
        page.table(change_heads(say), [change(it) for it in found.changes], [0, 3])


def change_heads(say: AuditText) -> list[str]:
    """The heads of the table of defenses."""
    return [say(it) for it in ("defense", "naive", "robust", "worst", "cost", "calibration", "latency")]


def change(it: DefenseEffect) -> list[str]:
    """A line of the table of defenses."""
    last, utility = it.thefts[-1].stealer_accuracy, it.utility
    latency = utility.get("added_ms_per_1000")
    return [
        it.candidate.name,
        "" if it.naive is None else f"{100 * it.naive:.1f}",
        _case(last),
        lens_of(last.attack),
        "±0" if it.cost == 0 else f"{-100 * it.cost:+.1f}",
        f"{utility['ece']:.3f}",
        "" if latency is None else f"{latency:.1f}",
    ]


def _case(case: Robust) -> str:
    return f"{100 * case.share:.1f} ({100 * case.low:.0f}–{100 * case.high:.0f})"
