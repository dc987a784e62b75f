"""Files of a claim: its JSON and its page."""

import importlib.resources
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from feint._optional import require
from feint.ownership.claim import Claim
from feint.ownership.text import ClaimText
from feint.recipes.store import atomic_write

PAGE, JSON = "claim.html", "claim.json"


def to_json(suspect: str, result: Claim, text: ClaimText) -> dict[str, Any]:
    """Return a claim as plain values, for scripts.

    Args:
        suspect: The suspect, as it was named.
        result: The claim.
        text: Texts of the sentences.

    Returns:
        The table; times are in seconds since the epoch.
    """
    entry = result.commitment
    return {
        "suspect": suspect,
        "verdict": "copy" if result.is_copy else "no claim",
        "reasons": list(result.reasons),
        "sentences": [text.verdict(result), *text.whose(result), *text.reasons(result)],
        "e_value": result.e_value,
        "p_value": result.p_value,
        "queries": result.queries,
        "unanswered": result.unanswered,
        "controls": result.controls,
        "false_claims": result.false_claims,
        "controls_alike": list(result.alike),
        "is_model": result.is_model,
        "claimed_controls": list(result.claimed_controls),
        "controls_as_good": result.as_good,
        "ordinary_inputs": result.task and asdict(result.task),
        "false_positive_bound": result.bound,
        "policy": asdict(result.policy),
        "commitment": entry and {
            "digest": entry.digest, "time": entry.time, "authority": entry.authority, "verified": entry.is_verified,
        },
        "appeared": result.appeared,
        "refusal": result.refusal,
        "evidence": [asdict(part) for part in result.evidence],
        "accounts": [asdict(part) for part in result.accounts],
        "named": result.named,
    }  # fmt: skip


def write(folder: Path, suspect: str, result: Claim, text: ClaimText) -> None:
    """Write the JSON and the page of a claim into a directory."""
    jinja2 = require("jinja2", "report")
    template = importlib.resources.files("feint.ownership").joinpath("page.html").read_text("utf-8")
    page = (
        jinja2.Environment(autoescape=True, trim_blocks=True)
        .from_string(template)
        .render(
            text=text, suspect=suspect, language={"zh": "zh-CN"}.get(text.name, text.name),
            verdict=text.verdict(result), copy=result.is_copy, reasons=text.reasons(result),
            whose=text.whose(result), tables={
                "the evidence": text.evidence_table(result), "the accounts": text.account_table(result),
            }, notes=text.notes(result),
        )
    )  # fmt: skip
    with atomic_write(folder / PAGE) as partial:
        partial.write_text(page, encoding="utf-8")
    with atomic_write(folder / JSON) as partial:
        content = json.dumps(to_json(suspect, result, text), indent=1, ensure_ascii=False)
        partial.write_text(content + "\n", encoding="utf-8")
