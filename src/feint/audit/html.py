"""HTML page of an audit: the advice and its picture first, then every number, with nothing cut off."""

import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from feint._optional import require
from feint.audit import ownership_text, promise_text
from feint.audit.candidates import NONE
from feint.audit.curve import budget_curve
from feint.audit.findings import Findings
from feint.audit.promise import NoPromise
from feint.audit.run import Audit
from feint.audit.standards import standard_checks
from feint.audit.text import AuditText
from feint.evaluation.metrics import group


class _Row(NamedTuple):
    cells: Sequence[str]
    best: bool = False


class _Table(NamedTuple):
    title: str
    heads: Sequence[str]
    rows: Sequence[_Row]


@dataclass(frozen=True)
class Page:
    """Content of a page.

    Attributes:
        name: Name of the model.
        audit: The run.
        findings: Its findings.
        commands: Commands to type next.
        settings: Recommended recipe, as TOML; empty for none.
        answers: Answer to one sample behind each defense, by its name.
        report: Address of the page with all rows, empty for none.
    """

    name: str
    audit: Audit
    findings: Findings
    commands: Sequence[str]
    settings: str
    answers: Mapping[str, str]
    report: str


def render(page: Page, text: AuditText) -> str:
    """Return the HTML of a page, in the language of `text`."""
    jinja2 = require("jinja2", "report")
    template = importlib.resources.files("feint.audit").joinpath("page.html").read_text("utf-8")
    audit, findings = page.audit, page.findings
    return (
        jinja2.Environment(autoescape=True, trim_blocks=True)
        .from_string(template)
        .render(
            text=text,
            language={"zh": "zh-CN"}.get(text.name, text.name),
            page=page,
            title=text.title(page.name, audit, findings),
            advice=text.advice(findings, audit),
            attacker=text.attacker(audit.setup),
            failures=[text("failure", error=error) for error in findings.failures],
            flags=[text.flag(flag) for flag in findings.flags],
            curve=budget_curve(findings, text) if findings.worst_cases else "",
            tables=_tables(page, text),
            sections=[
                (_promise(audit, text), promise_text.sentences(audit.promise, findings, text, audit.setup.classes)),
                (_ownership(audit, text), ownership_text.sentences(audit.ownership, text)),
            ],
            evidence=_evidence(audit, findings, text),
            notes=_notes(audit, findings, text),
            glossary=text.glossary(scores=_two_classes(audit), defenses=[e.candidate.name for e in findings.effects]),
        )
    )


def _two_classes(audit: Audit) -> bool:
    return audit.setup.plan.surrogate.classes == 2


def _tables(page: Page, text: AuditText) -> list[_Table]:
    findings, tables = page.findings, []
    heads, rows = text.attack_table(findings)
    surrogate = page.audit.setup.plan.attacker
    title = text("attacks", count=len(findings.attackers), surrogate=surrogate)
    tables.append(_Table(title, heads, [_Row(row) for row in rows]))
    if _two_classes(page.audit) and findings.worst_cases:
        tables.append(_scores(page, text))
    if findings.effects:
        heads, rows = text.effect_table(findings)
        best = None if findings.recommended is None else text.word(findings.recommended.candidate.name)
        tables.append(_Table(text.effects_title(findings), heads, [_Row(row, row[0] == best) for row in rows]))
    if page.answers:
        shown = [_Row([text.word(name), answer]) for name, answer in page.answers.items()]
        tables.append(_Table(text("answers"), [text("defense"), text("answer")], shown))
    return tables


def _scores(page: Page, text: AuditText) -> _Table:
    """Return the scores of the worst copies, for owners who use the probability of one of two classes."""
    lines = {(line.defense, line.attack, line.budget): line.scores for line in page.audit.results.lines()}
    worst = {case.budget: lines[NONE, case.stealer_accuracy.attack, case.budget] for case in page.findings.worst_cases}
    shown = [
        score for score in group("theft")
        if score.name not in ("stealer_accuracy", "fidelity") and any(score.name in scores for scores in worst.values())
    ]  # fmt: skip
    model = page.findings.utility.get("victim_auc")
    heads = [text("queries"), *(score.label(text.name) for score in shown), text("model auc")]
    auc = "–" if model is None else f"{model:.3f}"
    rows = [_Row([f"{b:,}", *(score.shown(scores) for score in shown), auc]) for b, scores in worst.items()]
    return _Table(text("scores"), heads, rows)


def _promise(audit: Audit, text: AuditText) -> _Table:
    """Return what a test in front of the model promises; without rows where nothing is known."""
    if isinstance(audit.promise, NoPromise):
        return _Table(promise_text.title(audit.promise, text), [], [])
    heads, rows = promise_text.table(audit.promise, text)
    return _Table(promise_text.title(audit.promise, text), heads, [_Row(row) for row in rows])


def _ownership(audit: Audit, text: AuditText) -> _Table:
    """Return what a claim of ownership would prove; without rows where nothing is known."""
    heads, rows = ownership_text.table(audit.ownership, text)
    return _Table(ownership_text.title(text), heads, [_Row(row) for row in rows])


def _evidence(audit: Audit, findings: Findings, text: AuditText) -> _Table:
    heads = ["", text("requirement"), text("evidenced"), text("not evidenced")]
    rows = [
        _Row([check.id, check.requirement, check.evidenced or text("nothing"), check.not_evidenced])
        for check in standard_checks(findings, audit.ownership, text)
    ]
    return _Table(text("for assessors"), heads, rows)


def _notes(audit: Audit, findings: Findings, text: AuditText) -> list[str]:
    names = text("semicolon").join(map(text.attack, findings.attackers))
    return [
        text.check(audit.setup.accuracy),
        text.basis(findings),
        *([text("attackers", names=names)] if names else []),
        *map(text.note, audit.setup.notes),
    ]
