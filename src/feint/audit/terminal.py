"""Terminal output of an audit: at most 40 lines of 100 columns."""

import io
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from feint.audit import ownership_text, promise_text
from feint.audit.commands import LADDER, offered_test
from feint.audit.findings import Findings
from feint.audit.output import JSON, PAGE, REPORT, SETTINGS
from feint.audit.run import Audit, AuditSetup
from feint.audit.samples import Samples
from feint.audit.standards import standard_checks
from feint.audit.text import AuditText
from feint.evaluation.sample_accuracy import SampleAccuracy
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

    def command(self, command: str) -> None:
        self._console.print(format_command(command), soft_wrap=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> None:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for i, head in enumerate(heads):
            words = i in left  # which go on in the next line where the table is too wide: no number is ever cut
            table.add_column(head, justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    @property
    def text(self) -> str:
        file = self._console.file
        return (
            "\n".join(line.rstrip() for line in file.getvalue().splitlines()) if isinstance(file, io.StringIO) else ""
        )


def format_command(command: str) -> str:
    """Return a command over lines that end with a backslash, so that it runs as it is printed."""
    lines = [" "]
    for word in map(shlex.quote, shlex.split(command)):
        if len(lines[-1]) + len(word) > WIDTH - 3 and lines[-1].strip():
            lines.append("   ")
        lines[-1] += f" {word}"
    return " \\\n".join(lines)


class Announcer:
    """Prints what is known before the first theft.

    Args:
        text: Texts in the owner's language.
        price: Price of 1,000 queries, None where no price is known.
        paid: Whether the model is elsewhere, so that every query counts.
        show: Prints a paragraph.
    """

    def __init__(self, text: AuditText, *, price: float | None, paid: bool, show: Callable[[str], None]) -> None:
        self._text, self._price, self._paid, self._show = text, price, paid, show

    def samples(self, samples: Samples) -> None:
        """Print the ceiling of the queries and of their price, before the model is asked anything."""
        if not self._paid:
            return
        calls = len(samples.fit) + len(samples.judge) + len(samples.pool)
        noun = self._text.word(samples.judge.domain.noun)
        lines = [self._text("ceiling", calls=f"{calls:,}", noun=noun)]
        if self._price is not None:
            price = f"{calls * self._price / 1000:,.2f} {self._text.currency}".strip()
            lines.append(self._text("ceiling price", price=price))
        self._print(self._text("gap").join(lines))

    def accuracy(self, accuracy: SampleAccuracy) -> None:
        """Print the accuracy of the model on the samples."""
        self._print(self._text.check(accuracy))

    def plan(self, setup: AuditSetup) -> None:
        """Print the plan, and the notes on samples and plan."""
        self._print(format_plan(setup, self._text))

    def _print(self, paragraph: str) -> None:
        screen = _Screen()
        screen.paragraph(paragraph)
        self._show(screen.text)


def format_plan(setup: AuditSetup, text: AuditText) -> str:
    """Return the announcement of a run: its plan, its attacker, and the notes on samples and plan."""
    size = setup.plan.size
    plan = text(
        "plan", cells=len(setup.cells), minutes=f"{setup.plan.seconds / 60:.1f}",
        budgets=text("comma").join(f"{budget:,}" for budget in size.budgets).replace("，", "、"),
        seeds=text("seeds", seeds=size.seeds), candidates=text("semicolon").join(map(text.word, setup.candidates)),
    )  # fmt: skip
    return "\n".join([plan, text.attacker(setup), *map(text.note, setup.notes)])


def format_audit(
    name: str, audit: Audit, findings: Findings, text: AuditText, folder: Path, commands: Sequence[str] = ()
) -> str:
    """Return the whole audit, whose files are in `folder`, with the `commands` to type next."""
    screen = _Screen()
    screen.paragraph(text.title(name, audit, findings))
    for error in findings.failures[:2]:
        screen.line(text("failure", error=error))
    if isinstance(audit.victim, FromAnswers):
        screen.paragraph(text("simulated", sent=f"{audit.victim.asked:,}"))
    _add_tables(screen, audit, findings, text)
    screen.paragraph("")
    for sentence in text.advice(findings, audit):
        screen.paragraph(sentence)
    doubts = text.basis(findings), text.flags(findings), promise_text.summary(audit.promise, text)
    screen.paragraph(text("gap").join([*doubts, ownership_text.screen(audit.ownership, text)]))
    screen.paragraph(_standards(audit, findings, text))
    written = findings.recommended is not None or findings.query_limit is not None
    screen.paragraph(text("settings", file=folder / SETTINGS) if written else text("no settings"))
    if offered_test(audit, findings) is not None:
        screen.paragraph(text("settings test", file=folder / LADDER))
    screen.paragraph(text("report", page=folder / PAGE, report=REPORT, json=JSON))
    for command in commands:
        screen.command(command)
    return screen.text


def _standards(audit: Audit, findings: Findings, text: AuditText) -> str:
    """Return the line that names the requirements for which there is evidence."""
    checks = standard_checks(findings, audit.ownership, text)
    evidenced, others = ([check.id for check in checks if bool(check.evidenced) == kind] for kind in (True, False))
    listed = [text("comma").join(names).replace("，", "、") or text("nothing") for names in (evidenced, others)]
    return text("standards", evidenced=listed[0], others=listed[1])


def _add_tables(screen: _Screen, audit: Audit, findings: Findings, text: AuditText) -> None:
    heads, rows = text.attack_table(findings)
    surrogate = audit.setup.plan.attacker
    screen.paragraph("\n" + text("attacks", count=len(findings.attackers), surrogate=surrogate))
    screen.table(heads, rows, [len(heads) - 2, len(heads) - 1])
    if findings.effects:
        screen.paragraph("\n" + text.effects_title(findings))
        screen.table(*text.effect_table(findings), [0, 3])
