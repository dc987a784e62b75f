"""The findings of an audit as one page: what the screen says, with nothing cut off."""

import importlib.resources
from collections.abc import Sequence
from typing import NamedTuple

from feint._optional import require
from feint.audit import terminal
from feint.audit.findings import Findings
from feint.audit.run import Audit
from feint.audit.standards import findings
from feint.audit.text import AuditText


class _Row(NamedTuple):
    cells: Sequence[str]
    best: bool = False


class _Table(NamedTuple):
    title: str
    heads: Sequence[str]
    rows: Sequence[_Row]


def page(name: str, audit: Audit, found: Findings, settings: str, say: AuditText, *, report: str) -> str:
    """The HTML; `settings` is the recipe to show, `report` the page with all rows, empty for none."""
    jinja2 = require("jinja2", "report")
    template = importlib.resources.files("feint.audit").joinpath("page.html").read_text("utf-8")
    partial = say("partial", missing=found.missing, cells=len(audit.work.cells)) if found.missing else ""
    return (
        jinja2.Environment(autoescape=True)
        .from_string(template)
        .render(
            say=say,
            name=name,
            title=terminal.title(name, audit, found, say),
            partial=" ".join([partial, *(say("failure", error=it) for it in found.failures)]).strip(),
            decision=say.decision(found),
            limit=say.limit(found),
            settings=settings,
            tables=_tables(found, say),
            notes=_notes(audit, found, say),
            report=report,
        )
    )


def _tables(found: Findings, say: AuditText) -> list[_Table]:
    best = found.deploy.candidate.name if found.deploy else ""
    tables = []
    if found.thefts:
        rows = [_Row(terminal.theft(it)) for it in found.thefts]
        tables.append(_Table(say("thefts", count=len(found.attackers)), terminal.theft_heads(found, say), rows))
    if found.changes:
        rows = [_Row(terminal.change(it), it.candidate.name == best) for it in found.changes]
        budget = f"{found.changes[0].thefts[-1].budget:,}"
        tables.append(_Table(say("changes", budget=budget), terminal.change_heads(say), rows))
    heads = ["", say("requirement"), say("evidenced"), say("not evidenced")]
    rows = [
        _Row([it.id, it.requirement, it.evidenced or say("nothing"), it.not_evidenced]) for it in findings(found, say)
    ]
    return [*tables, _Table(say("standards"), heads, rows)]


def _notes(audit: Audit, found: Findings, say: AuditText) -> list[str]:
    return [
        say("said", n=f"{found.n:,}", count=len(found.attackers), seeds=say("seeds", seeds=found.seeds)),
        f"{say('attackers')}: {'; '.join(found.attackers)}.",
        *(f"{flag}: {say.meaning(flag)}" for flag in found.flags),
        *map(say.note, audit.work.notes),
    ]
