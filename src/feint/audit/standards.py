"""Evidence of an audit for two catalogues of requirements. It is no claim of compliance.

The requirements of OWASP AISVS 1.0 and the technique of MITRE ATLAS are named by their number and paraphrased.
"""

from dataclasses import dataclass

from feint.audit import ownership_text
from feint.audit.candidates import NONE
from feint.audit.findings import AttackResult, Findings
from feint.audit.ownership import NoOutlook, OwnershipOutlook
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


def standard_checks(
    findings: Findings, ownership: OwnershipOutlook | NoOutlook, text: AuditText
) -> list[StandardCheck]:
    """Return the evidence for each requirement, in the language of `text`."""
    evidence = {
        "AISVS 11.2.2": _limits(findings, text),
        "AISVS 11.2.3": _calibration(findings, text),
        "AISVS 11.3.1": _detection(findings, text),
        "AISVS 11.3.2": _outputs(findings, text),
        "AISVS 11.3.3": ownership_text.evidence(ownership, text),
        "AISVS 11.3.4": _response(findings, text),
        "ATLAS AML.T0024.002": _extraction(findings, text),
    }
    return [
        StandardCheck(id, text(f"{id} requirement"), evidenced, text(f"{id} gaps"))
        for id, evidenced in evidence.items()
    ]


def _limits(findings: Findings, text: AuditText) -> str:
    cases = (f"{case.budget:,} → {case.stealer_accuracy.share:.1%}" for case in findings.worst_cases)
    curve = text("comma").join(cases)
    if not curve or not findings.known:
        return ""
    return text("evidence limits", curve=curve, limit=text.limit(findings)[0])


def _calibration(findings: Findings, text: AuditText) -> str:
    if not findings.utility:
        return ""
    measured = [effect for effect in findings.effects if effect.utility]
    after = text("comma").join(f"{text.word(e.candidate.name)} {e.utility['ece']:.3f}" for e in measured)
    before = f"{findings.utility['ece']:.3f}"
    return text("evidence calibration", before=before, after=after or "–", n=f"{findings.n:,}")


def _ladders(findings: Findings) -> list[tuple[str, AttackResult]]:
    ladders = [effect for effect in findings.effects if isinstance(effect.candidate.defense, Ladder)]
    return [(effect.candidate.name, effect.compared) for effect in ladders if effect.compared is not None]


def _detection(findings: Findings, text: AuditText) -> str:
    return " ".join(
        text(
            "evidence detection",
            name=text.word(name),
            budget=f"{last.budget:,}",
            share=f"{last.stealer_accuracy.share:.1%}",
        )
        for name, last in _ladders(findings)
    )


def _response(findings: Findings, text: AuditText) -> str:
    return " ".join(text("evidence response", name=text.word(name)) for name, _ in _ladders(findings))


def _outputs(findings: Findings, text: AuditText) -> str:
    measured = {effect.candidate.name: effect.compared for effect in findings.effects if effect.compared is not None}
    bare = next((case for case in findings.worst_cases if case.budget == findings.compared), None)
    if bare is None:
        return ""
    leaks = text("comma").join(
        f"{text.word(name)} {case.stealer_accuracy.share:.1%}" for name, case in ({NONE: bare} | measured).items()
    )
    return text("evidence outputs", budget=f"{findings.compared:,}", leaks=leaks)


def _extraction(findings: Findings, text: AuditText) -> str:
    if not findings.worst_cases:
        return ""
    last = findings.worst_cases[-1]
    return text(
        "evidence extraction",
        count=len(findings.attackers),
        attack=text.attack(last.stealer_accuracy.attack),
        budget=f"{last.budget:,}",
        accuracy=f"{last.stealer_accuracy.share:.1%}",
        fidelity=f"{last.fidelity.share:.1%}",
    )
