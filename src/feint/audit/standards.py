"""What an audit is evidence of, in the words of two catalogues, and what it is not. It is no claim of compliance.

The requirements of OWASP AISVS 1.0 and the technique of MITRE ATLAS are named by their number and paraphrased.
"""

from dataclasses import dataclass

from feint.audit.candidates import NONE
from feint.audit.findings import AttackResult, Findings
from feint.audit.text import AuditText
from feint.defense import Ladder


@dataclass(frozen=True)
class StandardCheck:
    """One requirement: what this run evidences of it, empty for nothing, and what it does not."""

    id: str
    requirement: str
    evidenced: str
    not_evidenced: str


def findings(found: Findings, say: AuditText) -> list[StandardCheck]:
    """The findings by requirement, in the language of `say`."""
    evidence = {
        "AISVS 11.2.2": _limits(found, say),
        "AISVS 11.2.3": _calibration(found, say),
        "AISVS 11.3.1": _detection(found, say),
        "AISVS 11.3.2": _outputs(found, say),
        "AISVS 11.3.3": "",
        "AISVS 11.3.4": _response(found, say),
        "ATLAS AML.T0024.002": _extraction(found, say),
    }
    return [StandardCheck(id, say(f"{id} asks"), said, say(f"{id} lacks")) for id, said in evidence.items()]


def _limits(found: Findings, say: AuditText) -> str:
    curve = ", ".join(f"{it.budget:,} → {it.stealer_accuracy.share:.1%}" for it in found.thefts)
    if not curve:
        return ""
    return say("evidence limits", curve=curve, limit=say.limit(found))


def _calibration(found: Findings, say: AuditText) -> str:
    if not found.utility:
        return ""
    after = ", ".join(f"{it.candidate.name} {it.utility['ece']:.3f}" for it in found.changes)
    return say("evidence calibration", before=f"{found.utility['ece']:.3f}", after=after or "–", n=f"{found.n:,}")


def _ladders(found: Findings) -> list[tuple[str, AttackResult]]:
    return [(it.candidate.name, it.thefts[-1]) for it in found.changes if isinstance(it.candidate.defense, Ladder)]


def _detection(found: Findings, say: AuditText) -> str:
    return " ".join(
        say("evidence detection", name=name, budget=f"{it.budget:,}", share=f"{it.stealer_accuracy.share:.1%}")
        for name, it in _ladders(found)
    )


def _response(found: Findings, say: AuditText) -> str:
    return " ".join(say("evidence response", name=name) for name, _ in _ladders(found))


def _outputs(found: Findings, say: AuditText) -> str:
    if not found.thefts:
        return ""
    behind = [(NONE, found.thefts[-1]), *((it.candidate.name, it.thefts[-1]) for it in found.changes)]
    leaks = ", ".join(f"{name} {it.stealer_accuracy.share:.1%}" for name, it in behind)
    return say("evidence outputs", budget=f"{found.thefts[-1].budget:,}", leaks=leaks)


def _extraction(found: Findings, say: AuditText) -> str:
    if not found.thefts:
        return ""
    worst = found.thefts[-1]
    return say(
        "evidence extraction",
        count=len(found.attackers),
        attack=worst.stealer_accuracy.attack,
        budget=f"{worst.budget:,}",
        accuracy=f"{worst.stealer_accuracy.share:.1%}",
        fidelity=f"{worst.fidelity.share:.1%}",
    )
