"""What an audit leaves on disk: the settings, the findings for machines and for people, and the report of all rows."""

import json
from pathlib import Path
from typing import Any

from feint import report, victims
from feint.audit import html, recommendation
from feint.audit.candidates import NONE
from feint.audit.files import JSON, PAGE, REPORT, SETTINGS
from feint.audit.findings import Findings
from feint.audit.json_report import document
from feint.audit.run import Audit
from feint.audit.text import AuditText
from feint.defense import Defense
from feint.recipes.store import atomic_write
from feint.service import Service


def write(folder: Path, name: str, audit: Audit, found: Findings, say: AuditText) -> dict[str, Any]:
    """Write everything into `folder`, and return what the JSON says."""
    made = recommendation.write(folder / SETTINGS, found, victims.fingerprint(audit.victim))
    table = document(name, audit, found, made, say)
    with atomic_write(folder / JSON) as partial:
        partial.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if found.thefts:
        services = {NONE: Service(audit.victim, Defense())}
        services |= {it.candidate.name: Service(audit.victim, it.candidate.defense) for it in found.changes}
        report.write(folder / REPORT, audit.results, services, audit.work.samples.judge, title=name, language=say.name)
    text = (folder / SETTINGS).read_text()
    with atomic_write(folder / PAGE) as partial:
        shown = html.page(name, audit, found, text, say, report=REPORT if found.thefts else "")
        partial.write_text(shown, encoding="utf-8")
    return table
