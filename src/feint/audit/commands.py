"""Commands that an owner types after an audit."""

import shlex
from pathlib import Path

from torch import nn

from feint.audit.findings import Findings
from feint.audit.run import Audit
from feint.victims import AdaptedModel, FromAnswers, OnnxFile


def next_commands(audit: Audit, findings: Findings, settings: Path, options: str) -> list[str]:
    """Return the commands to type next, with the names of this audit.

    Args:
        audit: The audit.
        findings: Its findings.
        settings: File of the recommended settings.
        options: Options by which the model is loaded, as they were typed.

    Returns:
        Commands that deploy the settings; or that continue the audit, or ask for more, where nothing is known.
    """
    request = audit.request
    model, data = f"{shlex.quote(request.place)}{options}", shlex.quote(request.data)
    pool = f" --pool {shlex.quote(request.pool)}" if request.pool else ""
    if not findings.known:
        minutes = request.minutes if findings.missing else 3 * request.minutes
        return [f"feint audit {model} --data {data}{pool} --minutes {minutes:g}"]
    if findings.recommended is None and findings.query_limit is None:
        return []
    name = Path(request.place).stem.replace(":", "-") or "model"
    if is_exportable(audit.victim):
        out = f"{name}-defended.onnx"
        return [
            f"feint export {model} --defense {settings} --data {data} --for gateway --out {shlex.quote(out)}",
            f"feint serve {shlex.quote(out)}",
        ]
    return [f"feint serve {model} --defense {settings}"]


def is_exportable(victim: nn.Module) -> bool:
    """Return whether a graph can hold the model."""
    if isinstance(victim, AdaptedModel):
        return victim.raw.differentiable or isinstance(victim.raw, OnnxFile)
    return not isinstance(victim, FromAnswers)
