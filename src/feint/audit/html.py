"""HTML page of an audit: the content of the terminal, with nothing cut off."""

import importlib.resources
from collections.abc import Sequence
from typing import NamedTuple

from feint._optional import require
from feint.audit.findings import Findings
from feint.audit.run import Audit
from feint.audit.standards import standard_checks
from feint.audit.text import AuditText


class _Row(NamedTuple):
    cells: Sequence[str]
    best: bool = False


class _Table(NamedTuple):
    title: str
    heads: Sequence[str]
    rows: Sequence[_Row]


def render(name: str, audit: Audit, findings: Findings, settings: str, text: AuditText, *, report: str) -> str:
    """Render the page.

    Args:
        name: Name of the model.
        audit: The run.
        findings: Its findings.
        settings: Recommended recipe, as TOML.
        text: Texts in the page's language.
        report: Address of the page with all rows, empty for none.

    Returns:
        The HTML.
    """
    jinja2 = require("jinja2", "report")
    template = importlib.resources.files("feint.audit").joinpath("page.html").read_text("utf-8")
    partial = text("partial", missing=findings.missing, cells=len(audit.setup.cells)) if findings.missing else ""
    return (
        jinja2.Environment(autoescape=True)
        .from_string(template)
        .render(
            text=text,
            name=name,
            title=text.title(name, audit, findings),
            partial=" ".join([partial, *(text("failure", error=error) for error in findings.failures)]).strip(),
            decision=text.decision(findings),
            limit=text.limit(findings),
            settings=settings,
            tables=_tables(findings, text),
            notes=_notes(audit, findings, text),
            report=report,
        )
    )


def _tables(findings: Findings, text: AuditText) -> list[_Table]:
    tables = []
    if findings.worst_cases:
        heads, rows = text.attack_table(findings)
        tables.append(_Table(text("attacks", count=len(findings.attackers)), heads, [_Row(row) for row in rows]))
    if findings.effects:
        heads, rows = text.effect_table(findings)
        marked = [_Row(row, effect is findings.recommended) for row, effect in zip(rows, findings.effects, strict=True)]
        tables.append(_Table(text.effects_title(findings), heads, marked))
    heads = ["", text("requirement"), text("evidenced"), text("not evidenced")]
    rows = [
        _Row([check.id, check.requirement, check.evidenced or text("nothing"), check.not_evidenced])
        for check in standard_checks(findings, text)
    ]
    return [*tables, _Table(text("standards"), heads, rows)]


def _notes(audit: Audit, findings: Findings, text: AuditText) -> list[str]:
    return [
        text.basis(findings),
        f"{text('attackers')}: {'; '.join(findings.attackers)}.",
        *(f"{flag}: {text.meaning(flag)}" for flag in findings.flags),
        *map(text.note, audit.setup.notes),
    ]
