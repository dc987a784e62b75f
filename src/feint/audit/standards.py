"""Evidence of an audit for two catalogues of requirements. It is no claim of compliance.

The requirements of OWASP AISVS 1.0 and the technique of MITRE ATLAS are named by their number and paraphrased.
"""

from dataclasses import dataclass

from feint.audit.candidates import NONE
from feint.audit.findings import AttackResult, Findings
from feint.audit.text import AuditText
from feint.defense import Ladder


@dataclass(frozen=True)
class StandardCheck:
    """Evidence of one run for one requirement.

    Attributes:
        id: Number of the requirement in its catalogue.
        requirement: Paraphrase of the requirement.
        evidenced: What the run evidences, empty for nothing.
        not_evidenced: What the run does not evidence.
    """

    id: str
    requirement: str
    evidenced: str
    not_evidenced: str


def standard_checks(findings: Findings, text: AuditText) -> list[StandardCheck]:
    """Return the evidence for each requirement, in the language of `text`."""
    evidence = {
        "AISVS 11.2.2": _limits(findings, text),
        "AISVS 11.2.3": _calibration(findings, text),
        "AISVS 11.3.1": _detection(findings, text),
        "AISVS 11.3.2": _outputs(findings, text),
        "AISVS 11.3.3": "",
        "AISVS 11.3.4": _response(findings, text),
        "ATLAS AML.T0024.002": _extraction(findings, text),
    }
    return [
        StandardCheck(id, text(f"{id} requirement"), evidenced, text(f"{id} gaps"))
        for id, evidenced in evidence.items()
    ]


def _limits(findings: Findings, text: AuditText) -> str:
    curve = ", ".join(f"{case.budget:,} → {case.stealer_accuracy.share:.1%}" for case in findings.worst_cases)
    if not curve:
        return ""
    return text("evidence limits", curve=curve, limit=text.limit(findings))


def _calibration(findings: Findings, text: AuditText) -> str:
    if not findings.utility:
        return ""
    after = ", ".join(f"{effect.candidate.name} {effect.utility['ece']:.3f}" for effect in findings.effects)
    before = f"{findings.utility['ece']:.3f}"
    return text("evidence calibration", before=before, after=after or "–", n=f"{findings.n:,}")


def _ladders(findings: Findings) -> list[tuple[str, AttackResult]]:
    ladders = [effect for effect in findings.effects if isinstance(effect.candidate.defense, Ladder)]
    return [(effect.candidate.name, effect.worst_cases[-1]) for effect in ladders]


def _detection(findings: Findings, text: AuditText) -> str:
    return " ".join(
        text("evidence detection", name=name, budget=f"{last.budget:,}", share=f"{last.stealer_accuracy.share:.1%}")
        for name, last in _ladders(findings)
    )


def _response(findings: Findings, text: AuditText) -> str:
    return " ".join(text("evidence response", name=name) for name, _ in _ladders(findings))


def _outputs(findings: Findings, text: AuditText) -> str:
    if not findings.worst_cases:
        return ""
    last = findings.worst_cases[-1]
    behind = [(NONE, last), *((effect.candidate.name, effect.worst_cases[-1]) for effect in findings.effects)]
    leaks = ", ".join(f"{name} {case.stealer_accuracy.share:.1%}" for name, case in behind)
    return text("evidence outputs", budget=f"{last.budget:,}", leaks=leaks)


def _extraction(findings: Findings, text: AuditText) -> str:
    if not findings.worst_cases:
        return ""
    last = findings.worst_cases[-1]
    return text(
        "evidence extraction",
        count=len(findings.attackers),
        attack=last.stealer_accuracy.attack,
        budget=f"{last.budget:,}",
        accuracy=f"{last.stealer_accuracy.share:.1%}",
        fidelity=f"{last.fidelity.share:.1%}",
    )
