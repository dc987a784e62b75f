"""An audit for machines: a table of plain values whose keys stay (docs/guides/audit.md)."""

from dataclasses import asdict
from typing import Any

from feint.audit.findings import AttackResult, DefenseEffect, Findings
from feint.audit.run import Audit
from feint.audit.standards import findings
from feint.audit.text import AuditText
from feint.evaluation.provenance import provenance
from feint.evaluation.robust import Robust
from feint.victims import fingerprint

FORMAT = 1


def document(name: str, audit: Audit, found: Findings, settings: dict[str, Any], say: AuditText) -> dict[str, Any]:
    """The JSON of an audit."""
    plan, samples = audit.work.plan, audit.work.samples
    return {
        "format": FORMAT,
        "model": {"name": name, "fingerprint": fingerprint(audit.victim), "classes": plan.surrogate.classes,
                  "accuracy": found.utility.get("victim_accuracy"), "n": found.n},
        "plan": {"budgets": list(plan.size.budgets), "seeds": plan.size.seeds, "surrogate": plan.surrogate.name,
                 "attackers": list(found.attackers), "seconds_estimated": round(plan.seconds),
                 "cells": len(audit.work.cells), "pool": len(samples.pool),
                 "notes": [*map(say.note, audit.work.notes)]},
        "partial": bool(found.missing),
        "missing": found.missing,
        "failures": list(found.failures),
        "thefts": [_theft(it) for it in found.thefts],
        "defenses": [_change(it) for it in found.changes],
        "recommendation": {"deploy": found.deploy.candidate.name if found.deploy else None,
                           "queries_per_client": found.limit, "settings": settings,
                           "reason": f"{say.decision(found)} {say.limit(found)}"},
        "flags": [{"name": flag, "reason": say.meaning(flag)} for flag in found.flags],
        "standards": [asdict(it) for it in findings(found, say)],
        "provenance": provenance(),
    }  # fmt: skip


def _theft(theft: AttackResult) -> dict[str, Any]:
    scores = {"stealer_accuracy": _case(theft.stealer_accuracy), "fidelity": _case(theft.fidelity)}
    return {"queries": theft.budget, "price": theft.price, **scores}


def _case(case: Robust) -> dict[str, Any]:
    shares = {"share": round(case.share, 4), "low": round(case.low, 4), "high": round(case.high, 4)}
    return {**shares, "attack": case.attack, "seeds": case.seeds}


def _change(change: DefenseEffect) -> dict[str, Any]:
    utility = change.utility
    return {
        "name": change.candidate.name,
        "recipe": change.candidate.place,
        "helps": change.helps,
        "naive_stealer_accuracy": change.naive,
        "thefts": [_theft(it) for it in change.thefts],
        "accuracy_lost": round(change.cost, 6),
        "utility": {
            it: utility[it] for it in ("defender_accuracy", "kl", "l1", "ece", "added_ms_per_1000") if it in utility
        },
    }
