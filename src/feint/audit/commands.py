"""Commands that an owner types after an audit."""

import os
import re
import shlex
from pathlib import Path

import tomli_w
from torch import nn

from feint.audit.findings import Findings
from feint.audit.run import Audit, AuditRequest
from feint.errors import NotExportable
from feint.export import require_exportable
from feint.export.plan import make_plan
from feint.recipes.store import atomic_write
from feint.victims import FromAnswers

SERVE, KEYS = "serve.toml", "keys.db"  # the latter is written by `feint keys`


def next_commands(audit: Audit, findings: Findings, settings: Path, model: str) -> list[str]:
    """Return the commands to type next, with the names of this audit.

    Args:
        audit: The audit.
        findings: Its findings.
        settings: File of the recommended settings.
        model: The model as it was typed, with its options.

    Returns:
        Commands that deploy the settings; or that continue the audit, or ask for more, where nothing is known. None for
        a model elsewhere, whose owner puts the gateway before it.
    """
    request = audit.request
    data = shlex.quote(request.data)
    if not findings.known:
        minutes = request.minutes if findings.missing else 3 * request.minutes
        return [f"feint audit {model} --data {data}{_options(request)} --minutes {minutes:g}"]
    if findings.recommended is None and findings.query_limit is None:
        return []
    if isinstance(audit.victim, FromAnswers):
        return []
    if not is_exportable(audit.victim, findings):
        return ["feint keys add CLIENT", f"feint serve {settings.with_name(SERVE)}"]
    out = shlex.quote(f"{_name(request.place)}-defended.onnx")
    return [
        f"feint export {model} --defense {settings} --data {data} --for gateway --out {out}",
        f"feint serve {out}",
    ]


def _options(request: AuditRequest) -> str:
    """Return the options on which the plan of a request depends, as they are typed."""
    values = [
        ("pool", request.pool), ("label", request.label), *(("defense", source) for source in request.defenses),
        *(("budget", budget) for budget in request.budgets), ("expect-accuracy", request.expected),
        ("threshold", request.threshold),
    ]  # fmt: skip
    return "".join(f" --{name} {shlex.quote(str(value))}" for name, value in values if value is not None)


def write_serve_settings(audit: Audit, findings: Findings, settings: Path) -> None:
    """Write the gateway's settings beside the recommended ones, for a model or a defense that no graph can hold.

    The file is deleted where there is nothing to serve.
    """
    file = settings.with_name(SERVE)
    if not settings.exists() or is_exportable(audit.victim, findings) or isinstance(audit.victim, FromAnswers):
        file.unlink(missing_ok=True)
        return
    place, folder = audit.request.place, file.parent  # paths in the file begin at its folder
    model = {"torch": os.path.relpath(place, folder) if Path(place).exists() else place, "defense": [settings.name]}
    table = {"models": {_name(place): model}, "keys": {"file": os.path.relpath(KEYS, folder)}}
    with atomic_write(file) as partial:
        partial.write_text(tomli_w.dumps(table))


def _name(place: str) -> str:
    return re.sub(r"[^\w-]+", "-", Path(place).stem).strip("-") or "model"


def is_exportable(victim: nn.Module, findings: Findings) -> bool:
    """Return whether a graph can hold the model with the recommended defense, and needs no key beside it."""
    try:
        require_exportable(victim)
        if findings.recommended is None:
            return True
        plan = make_plan(findings.recommended.candidate.defense, gateway=True, rung=None)
    except NotExportable:  # also of answers that are drawn by a secret key, as those of GaussianNoise
        return False
    return not plan.marks  # torch reads their key with the defense, a graph's gateway from a file of its own
