"""Files of an audit: the recommended settings, the JSON, the page of findings, and the report of all rows."""

import json
from pathlib import Path
from typing import Any

from feint import report, victims
from feint.audit import html, recommendation
from feint.audit.answers import sample_answers
from feint.audit.candidates import NONE
from feint.audit.commands import LADDER, TEST, next_commands, offered_test, write_serve_settings
from feint.audit.findings import Findings
from feint.audit.json_report import to_json
from feint.audit.run import Audit
from feint.audit.text import AuditText
from feint.defense import Defense
from feint.recipes.store import atomic_write
from feint.service import Service

SETTINGS, PAGE, REPORT, JSON = "defense.toml", "audit.html", "report.html", "audit.json"


def write(
    folder: Path, name: str, audit: Audit, findings: Findings, text: AuditText, *, typed: str = "MODEL"
) -> dict[str, Any]:
    """Write all files of an audit into `folder`, and return the content of its JSON.

    Args:
        folder: Directory to write to.
        name: Name of the model.
        audit: The audit.
        findings: Its findings.
        text: Texts in the language of the page.
        typed: The model as it was typed, with its options, for the commands to type next.

    Returns:
        The content of the JSON.
    """
    settings = recommendation.write(folder / SETTINGS, findings, victims.fingerprint(audit.victim))
    if offered_test(audit, findings) is None:
        (folder / LADDER).unlink(missing_ok=True)
    else:
        recommendation.write_ladder(folder / LADDER, settings, folder / TEST)
    write_serve_settings(audit, findings, folder / SETTINGS)
    commands = next_commands(audit, findings, folder / SETTINGS, typed)
    table = to_json(name, audit, findings, settings, text) | {"next": commands}
    with atomic_write(folder / JSON) as partial:
        partial.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    services = {NONE: Service(audit.victim, Defense())}
    measured = [effect.candidate for effect in findings.effects if effect.utility]
    services |= {candidate.name: Service(audit.victim, candidate.defense) for candidate in measured}
    judge = audit.setup.samples.judge
    if findings.worst_cases:
        report.write(folder / REPORT, audit.results, services, judge, title=name, language=text.name)
    page = html.render(
        html.Page(
            name, audit, findings, commands,
            settings=(folder / SETTINGS).read_text("utf-8") if settings else "",
            answers=sample_answers(services, judge, audit.setup.classes) if findings.worst_cases else {},
            report=REPORT if findings.worst_cases else "",
        ), text,
    )  # fmt: skip
    with atomic_write(folder / PAGE) as partial:
        partial.write_text(page, encoding="utf-8")
    return table
