"""Sentences and table of what an owner may promise."""

from collections.abc import Sequence
from typing import Any

from feint.audit.findings import Findings
from feint.audit.promise import ACCOUNTS, WANTED, EvasionResult, NoPromise, Promise
from feint.audit.query_test import READ, ChosenTest
from feint.audit.text import AuditText, Rows
from feint.defenses.access.sequential_test import SliceRisk
from feint.defenses.access.slices import UNCHANGED

NAMES = {name: f"promise {name}" for name in ("pool", "selected", "stepped", "blended", "mixed", "filled", "task")}


def summary(known: Promise | NoPromise, text: AuditText) -> str:
    """Return the sentence for a screen."""
    if isinstance(known, NoPromise):
        return text("promise unknown", reason=known.reason)
    bought = [_answers(tried, 1, text) for tried in (known.naive, known.strongest)]
    return text(
        "promise summary", naive=bought[0], strongest=bought[1], accused=known.honest.accused,
        clients=f"{len(known.honest.first):,}", pool=_pool(known, text),
    )  # fmt: skip


def sentences(
    known: Promise | NoPromise, findings: Findings, text: AuditText, classes: Sequence[str] = ()
) -> list[str]:
    """Return the sentences of a page: how often an honest client is wronged, and what a test does not see.

    Args:
        known: What may be promised.
        findings: Findings of the audit.
        text: Texts in the owner's language.
        classes: Names of the classes; numbers without them.
    """
    if isinstance(known, NoPromise):
        return [summary(known, text), _task(findings, text)]
    return [
        *_chosen(known, text),
        _honest(known, text),
        *_slices(known, text, classes),
        *_unaccused(known, text),
        _task(findings, text),
        _untried(known, text),
    ]


def title(known: Promise | NoPromise, text: AuditText) -> str:
    """Return the title of the table."""
    if isinstance(known, NoPromise):
        return text("promise title")
    about = {"alpha": f"{known.alpha:g}", "wanted": f"{WANTED:,}"}
    if known.calibrated is None:
        return text("promise title of", name=text.word(known.name or ""), **about)
    return text("promise title fitted", n=f"{known.calibrated:,}", **about)


def table(known: Promise, text: AuditText) -> tuple[list[str], Rows]:
    """Return the heads and rows of the attackers: when they are accused, and what so many accounts buy."""
    accounts = [text("promise accounts" if count > 1 else "promise account", count=f"{count:,}") for count in ACCOUNTS]
    heads = [text("promise attacker"), text("promise queries"), text("promise accused"), *accounts]
    return heads, [_row(known, tried, text) for tried in known.attackers]


def _row(known: Promise, tried: EvasionResult, text: AuditText) -> list[str]:
    outcome = tried.outcome
    median = text("promise over", count=f"{outcome.length:,}") if outcome.median is None else f"{outcome.median:,.0f}"
    bought = [_answers(tried, accounts, text) for accounts in ACCOUNTS]
    return [_name(known, tried, text), median, f"{outcome.rate:.0%}", *bought]


def _name(known: Promise, tried: EvasionResult, text: AuditText) -> str:
    return text(NAMES[tried.name], share=f"{tried.outcome.share:.0%}", pool=_pool(known, text))


def _pool(known: Promise, text: AuditText) -> str:
    return text("drawn rows" if known.drawn else "the pool")


def _chosen(known: Promise, text: AuditText) -> list[str]:
    """Return what the test that the audit chose reads, beside the scores that it tried."""
    chosen = known.chosen
    if chosen is None:
        return []
    tried = text("comma").join(f"{_read(score, text)} {share:.1%}" for score, share in chosen.tried.items())
    phrase = "promise chosen" if chosen.sees else "promise blind"
    return [text(phrase, read=_read(chosen.score, text), tried=tried, pool=_pool(known, text))]


def _read(score: str, text: AuditText) -> str:
    return text(f"promise reads {READ[score]}")


def _answers(tried: EvasionResult, accounts: int, text: AuditText) -> str:
    """Return the answers that so many accounts buy, or that they buy more than the queries replayed show."""
    answers = tried.answers[accounts]
    if answers is None:
        return text("promise over", count=f"{tried.outcome.least(accounts):,.0f}")
    return f"{answers:,.0f}"


def _honest(known: Promise, text: AuditText) -> str:
    honest = known.honest
    return text(
        "promise honest", accused=honest.accused, clients=f"{len(honest.first):,}", length=f"{honest.length:,}",
        bound=f"{honest.bound:.2%}", alpha=f"{known.alpha:g}",
    )  # fmt: skip


def _slices(known: Promise, text: AuditText, classes: Sequence[str]) -> list[str]:
    if known.risks is None:
        return [text("promise slices unknown")]
    accused = text("semicolon").join(
        text("promise slice", name=_slice_name(risk, text, classes), queries=f"{risk.queries:,.0f}")
        for risk in known.accused_slices
    )
    return [text("promise slices", slices=accused)] if accused else [text("promise slices none")]


def _slice_name(risk: SliceRisk, text: AuditText, classes: Sequence[str]) -> str:
    """Return a slice in words: a class by its name, and changes as recipes spell them."""
    if risk.label is not None:
        return text("promise slice class", name=classes[risk.label] if risk.label < len(classes) else risk.label)
    return text("promise slice ordinary") if risk.name == UNCHANGED else risk.name


def _unaccused(known: Promise, text: AuditText) -> list[str]:
    return (
        []
        if known.unaccused is None
        else [text("promise unaccused", share=f"{known.unaccused:.1%}", pool=_pool(known, text))]
    )


def _untried(known: Promise, text: AuditText) -> str:
    names = {tried.name for tried in known.attackers}
    others = "promise not tried" if "blended" in names else "promise not asked"
    return text("gap").join([text("promise all tried" if "stepped" in names else others), text("promise near")])


def _task(findings: Findings, text: AuditText) -> str:
    priced = next((case for case in reversed(findings.worst_cases) if case.price is not None), None)
    if priced is None or priced.price is None:
        return text("promise remains")
    price = f"{priced.price:,.2f} {text.currency}".strip()
    return text("gap").join([text("promise remains"), text("promise price", queries=f"{priced.budget:,}", price=price)])


def to_json(known: Promise | NoPromise | None) -> dict[str, Any]:
    """Return the JSON of a promise."""
    if known is None or isinstance(known, NoPromise):
        return {"known": False, "reason": known.reason if known else "not run"}
    risks = known.risks
    honest = known.honest
    return {
        "known": True, "defense": known.name, "test": _test(known.chosen), "drawn_rows": known.drawn,
        "alpha": known.alpha, "calibrated_on": known.calibrated,
        "honest": {"clients": len(honest.first), "queries": honest.length, "accused": honest.accused,
                   "bound": round(honest.bound, 6)},
        "accused_slices": None if risks is None else [
            {"name": risk.name, "queries": round(risk.queries)} for risk in known.accused_slices
        ],
        "unaccused_share": None if known.unaccused is None else round(known.unaccused, 4),
        "wanted": WANTED,
        "attackers": [
            {"name": tried.name, "share": tried.outcome.share, "accounts": len(tried.outcome.first),
             "queries": tried.outcome.length, "accused": tried.outcome.rate, "median_queries": tried.outcome.median,
             "answers": {str(n): None if a is None else round(a, 1) for n, a in tried.answers.items()}}
            for tried in known.attackers
        ],
    }  # fmt: skip


def _test(chosen: ChosenTest | None) -> dict[str, Any] | None:
    """Return the JSON of the test that the audit chose."""
    if chosen is None:
        return None
    scores = {score: round(share, 4) for score, share in chosen.tried.items()}
    return {"recipe": chosen.recipe, "outliers": chosen.outliers, "unaccused_share_by_score": scores}
