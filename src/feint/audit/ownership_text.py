"""Sentences and table of the evidence that a claim of ownership would have."""

import math
from dataclasses import asdict
from typing import Any

from feint.audit.ownership import CopyEvidence, NoOutlook, OwnershipOutlook
from feint.audit.text import AuditText, Rows
from feint.defenses.access.binomial import upper_bound

HEADS = "queries", "attack", "fidelity", "claim compared", "claim agreed", "claim innocent", "claim e", "claim needed"
MORE = 299  # controls, of which none may be claimed for a bound of 1 %


def title(text: AuditText) -> str:
    """Return the title of the table."""
    return text("claim title")


def screen(known: OwnershipOutlook | NoOutlook, text: AuditText) -> str:
    """Return the short sentence for a screen."""
    if isinstance(known, NoOutlook):
        return text("claim screen unknown")
    return text("claim screen", e=_power(known.strongest), least=f"{-math.log10(known.policy.alpha):g}")


def summary(known: OwnershipOutlook | NoOutlook, text: AuditText) -> str:
    """Return the sentence on the evidence against the copy against which there is most."""
    if isinstance(known, NoOutlook):
        return text("claim unknown", reason=text.word(known.reason))
    strongest = known.strongest
    return text(
        "claim enough" if known.is_enough(strongest) else "claim little", mistakes=f"{known.mistakes:,}",
        n=f"{known.samples:,}", queries=f"{strongest.budget:,}", e=_power(strongest), alpha=f"{known.policy.alpha:g}",
        controls=known.controls_needed,
    )  # fmt: skip


def evidence(known: OwnershipOutlook | NoOutlook, text: AuditText) -> str:
    """Return the sentence for an assessor; empty where nothing is known."""
    return "" if isinstance(known, NoOutlook) else summary(known, text)


def sentences(known: OwnershipOutlook | NoOutlook, text: AuditText) -> list[str]:
    """Return the sentences of a page: what a claim rests on, what it needs, and what was not tried."""
    if isinstance(known, NoOutlook):
        return [summary(known, text)]
    bounds = {"bound": f"{upper_bound(0, known.controls_needed):.2%}", "one": f"{upper_bound(0, MORE):.0%}"}
    return [
        summary(known, text),
        text("claim basis", innocents=known.innocents),
        text("claim controls", controls=known.controls_needed, more=MORE, **bounds),
        text("claim not tried"),
    ]


def table(known: OwnershipOutlook | NoOutlook, text: AuditText) -> tuple[list[str], Rows]:
    """Return the heads and rows of the copies; no rows where nothing is known."""
    copies = known.copies if isinstance(known, OwnershipOutlook) else ()
    heads = [text("claim attack") if head == "attack" else text(head) for head in HEADS]
    return heads, [_row(copy, known, text) for copy in copies if isinstance(known, OwnershipOutlook)]


def _row(copy: CopyEvidence, known: OwnershipOutlook, text: AuditText) -> list[str]:
    part, needed = copy.evidence, copy.mistakes_needed(known.policy.alpha)
    samples = None if needed is None else math.ceil(needed * known.samples / known.mistakes)
    return [
        f"{copy.budget:,}", text.attack(copy.attack), f"{100 * copy.fidelity:.1f}", f"{part.compared:,}",
        f"{part.agreed:,}", f"{part.control_agreed:,}", _power(copy),
        text("claim none") if needed is None else text("claim samples", mistakes=f"{needed:,}", n=f"{samples:,}"),
    ]  # fmt: skip


def _power(copy: CopyEvidence) -> str:
    return f"10^{copy.evidence.log_e / math.log(10):.1f}"


def to_json(known: OwnershipOutlook | NoOutlook, text: AuditText) -> dict[str, Any]:
    """Return the JSON of the evidence."""
    if isinstance(known, NoOutlook):
        return {"known": False, "reason": text.word(known.reason)}
    return {
        "known": True, "mistakes": known.mistakes, "samples": known.samples, "innocents": known.innocents,
        "alpha": known.policy.alpha, "most_false": known.policy.most_false, "controls_needed": known.controls_needed,
        "copies": [
            {"queries": copy.budget, "attack": copy.attack, "fidelity": copy.fidelity, "enough": known.is_enough(copy),
             "mistakes_needed": copy.mistakes_needed(known.policy.alpha), **asdict(copy.evidence)}
            for copy in known.copies
        ],
    }  # fmt: skip
