"""What an audit leaves on disk: the settings, the findings for machines and for people, and the report of all rows."""

import json
from pathlib import Path
from typing import Any

from feint import victims
from feint.audit import page, settings
from feint.audit.candidates import NONE
from feint.audit.document import document
from feint.audit.files import JSON, PAGE, REPORT, SETTINGS
from feint.audit.findings import Findings
from feint.audit.phrases import Phrases
from feint.audit.run import Audit
from feint.evaluation import report
from feint.line import Defense
from feint.service import Service
from feint.store import written


def write(folder: Path, name: str, audit: Audit, found: Findings, say: Phrases) -> dict[str, Any]:
    """Write everything into `folder`, and return what the JSON says."""
    made = settings.write(folder / SETTINGS, found, victims.fingerprint(audit.victim))
    table = document(name, audit, found, made, say)
    with written(folder / JSON) as partial:
        partial.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if found.thefts:
        services = {NONE: Service(audit.victim, Defense())}
        services |= {it.candidate.name: Service(audit.victim, it.candidate.defense) for it in found.changes}
        report.write(folder / REPORT, audit.results, services, audit.work.samples.judge, title=name, language=say.name)
    text = (folder / SETTINGS).read_text()
    with written(folder / PAGE) as partial:
        shown = page.page(name, audit, found, text, say, report=REPORT if found.thefts else "")
        partial.write_text(shown, encoding="utf-8")
    return table
