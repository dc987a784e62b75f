"""Commands that an owner types after an audit."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from feint.audit.findings import Findings
from feint.audit.promise import Promise
from feint.audit.query_test import ChosenTest
from feint.audit.recommendation import recommended_defense, with_test
from feint.audit.run import Audit, AuditRequest
from feint.data.files import is_file
from feint.defense import Defense
from feint.errors import NotExportable
from feint.export import require_exportable
from feint.export.plan import make_plan
from feint.recipes.store import atomic_write
from feint.victims import AdaptedModel, FromAnswers, ModelFile, model_file
from feint.victims.discovery import states_domain

SERVE, KEYS = "serve.toml", "keys.db"  # the latter is written by `feint keys`
LADDER, TEST = "ladder.toml", "test"  # beside the settings; `feint fit` writes the latter


def next_commands(audit: Audit, findings: Findings, settings: Path, model: str) -> list[str]:
    """Return the commands to type next, with the names of this audit.

    Args:
        audit: The audit.
        findings: Its findings.
        settings: File of the recommended settings.
        model: The model as it was typed, with its options.

    Returns:
        Commands that fit the test of queries, where there is one, and deploy it with the settings; or that continue the
        audit, or ask for more, where nothing is known. None for a model elsewhere, whose owner puts the gateway before
        it.
    """
    request = audit.request
    if not findings.known:
        minutes = request.minutes if findings.missing else 3 * request.minutes
        out = settings.parent  # where its work is kept: in another directory it would begin anew
        options = [("data", request.data), *_options(request), ("minutes", f"{minutes:g}"), ("out", out)]
        return [f"feint audit {model}{_typed(options)}"]
    test = offered_test(audit, findings)
    if isinstance(audit.victim, FromAnswers) or (test is None and not _recommends(findings)):
        return []
    fit = [] if test is None else [_fit_command(test, request, model, settings.with_name(TEST))]
    if not is_exportable(audit, findings):
        return [*fit, "feint keys add CLIENT", shlex.join(["feint", "serve", f"{settings.with_name(SERVE)}"])]
    out = f"{_name(request.place)}-defended.onnx"
    deployed = settings if test is None else settings.with_name(LADDER)
    options = [
        ("defense", deployed),
        ("data", request.data),
        ("label", request.label),
        ("for", "gateway"),
        ("out", out),
    ]
    return [*fit, f"feint export {model}{_typed(options)}", f"feint serve {out}"]


def offered_test(audit: Audit, findings: Findings) -> ChosenTest | None:
    """Return the test of queries that the audit offers beside its settings.

    None where no score tried sees attackers, the recommended defense is a ladder with a test of its own, or the model
    is elsewhere.
    """
    chosen = audit.promise.chosen if isinstance(audit.promise, Promise) else None
    if chosen is None or not chosen.sees or not findings.known:
        return None
    deployable = isinstance(recommended_defense(findings), Defense) and not isinstance(audit.victim, FromAnswers)
    return chosen if deployable else None


def _recommends(findings: Findings) -> bool:
    return findings.recommended is not None or findings.query_limit is not None


def _fit_command(test: ChosenTest, request: AuditRequest, model: str, out: Path) -> str:
    data = request.data if is_file(request.data) else f"{request.data}/test"  # the model was trained on the rest
    options = [("data", data), ("label", request.label), ("outliers", test.outliers), ("out", f"{out}")]
    return f"feint fit {shlex.quote(test.recipe)} --victim {model}" + _typed(options)


def _options(request: AuditRequest) -> list[tuple[str, object]]:
    """Return the options on which the plan of a request depends, with their values."""
    return [
        ("pool", request.pool), ("label", request.label), *(("defense", source) for source in request.defenses),
        *(("budget", budget) for budget in request.budgets), ("expect-accuracy", request.expected),
        ("threshold", request.threshold), ("outliers", request.outliers), ("pretrained", request.pretrained),
    ]  # fmt: skip


def _typed(values: Sequence[tuple[str, object]]) -> str:
    """Return options with their values as they are typed, those without a value left out."""
    return "".join(f" --{name} {shlex.quote(str(value))}" for name, value in values if value is not None)


def write_serve_settings(audit: Audit, findings: Findings, settings: Path) -> None:
    """Write the gateway's settings beside the recommended ones, for a model or a defense that no graph can hold.

    What the samples told of a raw model, such as its columns, is written to a model.toml beside them: the gateway has
    no samples, and defenses are fitted to the model as it was audited. The files are deleted where there is nothing to
    serve.
    """
    file, test = settings.with_name(SERVE), offered_test(audit, findings)
    deployed = settings if test is None else settings.with_name(LADDER)
    described = settings.with_name(model_file.NAME)
    if not deployed.exists() or is_exportable(audit, findings) or isinstance(audit.victim, FromAnswers):
        file.unlink(missing_ok=True)
        described.unlink(missing_ok=True)
        return
    place, folder = audit.request.place, file.parent  # paths in the files begin at their folder
    torch = os.path.relpath(place, folder) if Path(place).exists() else place
    if isinstance(audit.victim, AdaptedModel) and not states_domain(place):
        ModelFile(torch, audit.victim.adapter, evidence=("as it was audited",)).write(described)
        torch = described.name
    model = {"torch": torch, "defense": [deployed.name]}
    table = {"models": {_name(place): model}, "keys": {"file": os.path.relpath(KEYS, folder)}}
    with atomic_write(file) as partial:
        partial.write_text(tomli_w.dumps(table))


def _name(place: str) -> str:
    return re.sub(r"[^\w-]+", "-", Path(place).stem).strip("-") or "model"


def is_exportable(audit: Audit, findings: Findings) -> bool:
    """Return whether a graph can hold the model with what the audit offers, and needs no key beside it."""
    defense, test = recommended_defense(findings), offered_test(audit, findings)
    try:
        require_exportable(audit.victim)
        plan = make_plan(defense if test is None else with_test(defense, test.test), gateway=True, rung=None)
    except NotExportable:  # also of answers that are drawn by a secret key, as those of GaussianNoise
        return False
    return not plan.marks  # torch reads their key with the defense, a graph's gateway from a file of its own
