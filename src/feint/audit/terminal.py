"""Terminal output of an audit: at most 40 lines of 100 columns."""

import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from feint.audit.findings import Findings
from feint.audit.output import JSON, PAGE, REPORT, SETTINGS
from feint.audit.run import Audit, AuditSetup
from feint.audit.standards import standard_checks
from feint.audit.text import AuditText
from feint.victims import FromAnswers

WIDTH = 100


class _Screen:
    """Buffer of paragraphs, lines and tables, laid out by the display width of characters."""

    def __init__(self) -> None:
        self._console = Console(width=WIDTH, file=io.StringIO(), highlight=False, markup=False, emoji=False)

    def paragraph(self, text: str) -> None:
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
        return (
            "\n".join(line.rstrip() for line in file.getvalue().splitlines()) if isinstance(file, io.StringIO) else ""
        )


def format_plan(setup: AuditSetup, text: AuditText) -> str:
    """Return the announcement of a run: its plan, and the notes on samples and plan."""
    size, screen = setup.plan.size, _Screen()
    screen.paragraph(
        text(
            "plan", cells=len(setup.cells), minutes=f"{setup.plan.seconds / 60:.1f}",
            surrogate=setup.plan.surrogate.name, budgets=", ".join(f"{budget:,}" for budget in size.budgets),
            seeds=text("seeds", seeds=size.seeds), candidates=", ".join(setup.candidates),
        )
    )  # fmt: skip
    for note in map(text.note, setup.notes):
        screen.paragraph(note)
    return screen.text


def format_audit(name: str, audit: Audit, findings: Findings, text: AuditText, folder: Path) -> str:
    """Return the whole audit, whose files are in `folder`."""
    screen = _Screen()
    screen.paragraph(text.title(name, audit, findings))
    if findings.missing:
        screen.paragraph(text("partial", missing=findings.missing, cells=len(audit.setup.cells)))
    for error in findings.failures[:2]:
        screen.line(text("failure", error=error))
    if isinstance(audit.victim, FromAnswers):
        screen.paragraph(text("simulated", sent=f"{audit.victim.asked:,}"))
    _add_tables(screen, findings, text)
    screen.paragraph("")
    screen.paragraph(text.decision(findings))
    screen.paragraph(text.limit(findings))
    screen.paragraph(text.basis(findings))
    screen.paragraph(text("flags", flags=", ".join(findings.flags)) if findings.flags else text("flags none"))
    screen.paragraph("")
    screen.paragraph(text("standards"))
    for check in standard_checks(findings, text):
        screen.line(f"{check.id:20} {check.evidenced or text('nothing')}")
    screen.paragraph(text("settings", file=folder / SETTINGS))
    screen.paragraph(text("report", page=folder / PAGE, report=REPORT, json=JSON))
    return screen.text


def _add_tables(screen: _Screen, findings: Findings, text: AuditText) -> None:
    if findings.worst_cases:
        heads, rows = text.attack_table(findings)
        screen.paragraph("\n" + text("attacks", count=len(findings.attackers)))
        screen.table(heads, rows, [len(heads) - 1])
    if findings.effects:
        screen.paragraph("\n" + text.effects_title(findings))
        screen.table(*text.effect_table(findings), [0, 3])
