"""JSON of an audit: plain values under stable keys (docs/guides/audit.md)."""

from dataclasses import asdict
from typing import Any

from feint.audit import ownership_text, promise_text
from feint.audit.findings import AttackResult, DefenseEffect, Findings
from feint.audit.run import Audit
from feint.audit.standards import standard_checks
from feint.audit.text import AuditText
from feint.evaluation.provenance import provenance
from feint.evaluation.robust import Robust
from feint.victims import fingerprint

FORMAT = 1
UTILITY = "defender_accuracy", "kl", "l1", "ece", "added_ms_per_1000"


def to_json(name: str, audit: Audit, findings: Findings, settings: dict[str, Any], text: AuditText) -> dict[str, Any]:
    """Return the JSON of an audit; `settings` is the recommended recipe as a table."""
    plan, samples, recommended = audit.setup.plan, audit.setup.samples, findings.recommended
    advice = text.advice(findings, audit)
    return {
        "format": FORMAT,
        "model": {"name": name, "fingerprint": fingerprint(audit.victim), "classes": plan.surrogate.classes,
                  "accuracy": findings.utility.get("victim_accuracy"), "n": findings.n,
                  "majority": findings.constant.accuracy},
        "plan": {"budgets": list(plan.size.budgets), "seeds": plan.size.seeds, "surrogate": plan.attacker,
                 "tried": {**plan.tried, **plan.baselines}, "attackers": list(findings.attackers),
                 "seconds_estimated": round(plan.seconds),
                 "cells": len(audit.setup.cells), "pool": len(samples.pool),
                 "notes": [*map(text.note, audit.setup.notes)]},
        "partial": bool(findings.missing),
        "missing": findings.missing,
        "failures": list(findings.failures),
        "thefts": [_attack(result) for result in findings.worst_cases],
        "defenses": [_effect(effect) for effect in findings.effects],
        "recommendation": {"known": findings.known, "doubts": [doubt.name.lower() for doubt in findings.doubts],
                           "deploy": recommended.candidate.name if recommended else None,
                           "queries_per_client": findings.query_limit, "period": "lifetime",
                           "points_below": round(100 * findings.margin, 4), "settings": settings,
                           "reason": text("gap").join(advice)},
        "promise": promise_text.to_json(audit.promise),
        "ownership": ownership_text.to_json(audit.ownership, text),
        "flags": [{"name": flag.name, "numbers": list(flag.numbers), "reason": text.flag(flag)}
                  for flag in findings.flags],
        "standards": [asdict(check) for check in standard_checks(findings, audit.ownership, text)],
        "provenance": provenance(),
    }  # fmt: skip


def _attack(result: AttackResult) -> dict[str, Any]:
    scores = {"stealer_accuracy": _case(result.stealer_accuracy), "fidelity": _case(result.fidelity)}
    doubt = None if result.doubt is None else result.doubt.name.lower()
    return {"queries": result.budget, "price": result.price, **scores, "doubt": doubt}


def _case(case: Robust) -> dict[str, Any]:
    shares = {"share": round(case.share, 4), "low": round(case.low, 4), "high": round(case.high, 4)}
    return {**shares, "attack": case.attack, "seeds": case.seeds}


def _effect(effect: DefenseEffect) -> dict[str, Any]:
    utility = effect.utility
    return {
        "name": effect.candidate.name,
        "recipe": effect.candidate.source,
        "helps": effect.helps,
        "compared_at": effect.compared.budget if effect.compared else None,
        "naive_stealer_accuracy": effect.compared.stealer_accuracy.naive if effect.compared else None,
        "thefts": [_attack(result) for result in effect.worst_cases],
        "accuracy_lost": round(effect.cost, 6) if utility else None,
        "utility": {name: utility[name] for name in UTILITY if name in utility},
    }
