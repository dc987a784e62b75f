"""Files of an audit: the recommended settings, the JSON, the page of findings, and the report of all rows."""

import json
from pathlib import Path
from typing import Any

from feint import report, victims
from feint.audit import html, recommendation
from feint.audit.candidates import NONE
from feint.audit.findings import Findings
from feint.audit.json_report import to_json
from feint.audit.run import Audit
from feint.audit.text import AuditText
from feint.defense import Defense
from feint.recipes.store import atomic_write
from feint.service import Service

SETTINGS, PAGE, REPORT, JSON = "defense.toml", "audit.html", "report.html", "audit.json"


def write(folder: Path, name: str, audit: Audit, findings: Findings, text: AuditText) -> dict[str, Any]:
    """Write all files of an audit into `folder`, and return the content of its JSON."""
    settings = recommendation.write(folder / SETTINGS, findings, victims.fingerprint(audit.victim))
    table = to_json(name, audit, findings, settings, text)
    with atomic_write(folder / JSON) as partial:
        partial.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if findings.worst_cases:
        candidates = [effect.candidate for effect in findings.effects]
        services = {NONE: Service(audit.victim, Defense())}
        services |= {candidate.name: Service(audit.victim, candidate.defense) for candidate in candidates}
        report.write(
            folder / REPORT, audit.results, services, audit.setup.samples.judge, title=name, language=text.name
        )
    toml = (folder / SETTINGS).read_text()
    page = html.render(name, audit, findings, toml, text, report=REPORT if findings.worst_cases else "")
    with atomic_write(folder / PAGE) as partial:
        partial.write_text(page, encoding="utf-8")
    return table
