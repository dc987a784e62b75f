"""Texts of a claim, in English and Chinese."""

import datetime
import math

from feint.i18n import Catalog, aligned
from feint.ownership.claim import AccountEvidence, Claim
from feint.ownership.comparison import Evidence
from feint.ownership.ordinary import least_as_good

SHOWN = 10  # accounts of a table


class ClaimText(Catalog):
    """Catalog of a claim's phrases in one language, with the sentences made of them.

    Args:
        name: Language, "en" or "zh".
    """

    def __init__(self, name: str = "en") -> None:
        super().__init__(name, room="feint.ownership")

    def verdict(self, result: Claim) -> str:
        """Return the verdict: evidence that the suspect is a copy, or no claim."""
        return self("evidence" if result.is_copy else "no claim")

    def reasons(self, result: Claim) -> list[str]:
        """Return what speaks against the claim, a sentence each."""
        values = {
            "needed": shown(1 / result.policy.alpha), "e": shown(result.e_value), "bound": f"{result.bound:.2%}",
            "most": f"{result.policy.most_false:.0%}", "controls": result.controls,
            "good": result.as_good, "least": least_as_good(result.controls),
            "alike": ", ".join(result.alike[:SHOWN]), "questions": f"{sum(part.asked for part in result.evidence):,}",
            "nearest": ", ".join(f"{part.highest_control} ({part.highest:.0%})" for part in result.shared),
            **_of_task(result),
        }  # fmt: skip
        return [self(reason, **values) for reason in result.reasons]

    def evidence_table(self, result: Claim) -> list[list[str]]:
        """Return the rows of the evidence, the heads first; none where nothing was asked of the marks."""
        if not result.evidence:
            return []
        heads = [self(head) for head in ("mark", "asked", "compared", "suspect", "control", "alone", "e-value")]
        return [heads, *map(self._row, result.evidence)]

    def _row(self, part: Evidence) -> list[str]:
        return [self(part.method), f"{part.asked:,}", f"{part.compared:,}", *_agreement(part)]

    def account_table(self, result: Claim) -> list[list[str]]:
        """Return the rows of the accounts with the most evidence, the heads first; none where the mark has none."""
        if not result.accounts:
            return []
        heads = [
            self(head) for head in ("account", "marked answers", "asked", "suspect", "control", "alone", "e-value")
        ]
        return [[*heads, self("named")], *map(self._account_row, result.accounts[:SHOWN])]

    def _account_row(self, part: AccountEvidence) -> list[str]:
        numbers = _agreement(part.evidence) if part.evidence else ["-"] * 4
        asked = part.evidence.asked if part.evidence else 0
        return [part.account, f"{part.marked:,}", f"{asked:,}", *numbers, self("yes" if part.named else "no")]

    def whose(self, result: Claim) -> list[str]:
        """Return the sentence on the accounts whose answers the suspect learned; none where there is no claim."""
        if not (result.accounts and result.is_copy):
            return []
        return [self("learned", accounts=", ".join(result.named)) if result.named else self("whose is not known")]

    def notes(self, result: Claim) -> list[str]:
        """Return the sentences on what the numbers mean and on what they rest."""
        bound = self(
            "bound", false=result.false_claims, controls=result.controls, bound=f"{result.bound:.2%}",
        )  # fmt: skip
        optional = {
            "is the model": result.is_model, "unanswered": result.unanswered,
            "claimed controls": result.claimed_controls, "as good": result.as_good is not None,
        }  # fmt: skip
        values = {
            "unanswered": f"{result.unanswered:,}", "names": ", ".join(result.claimed_controls[:SHOWN]),
            "good": result.as_good, "controls": result.controls,
        }  # fmt: skip
        lines = [
            self("combined", e=shown(result.e_value), p=shown(result.p_value), queries=f"{result.queries:,}"),
            *([self("ordinary", **_of_task(result))] if result.task and result.task.asked else []),
            bound, *(self(name, **values) for name, holds in optional.items() if holds), self.commitment(result),
        ]  # fmt: skip
        if result.accounts:
            procedure = "holm" if result.policy.fdr is None else "e-bh"
            level = f"{result.policy.alpha if result.policy.fdr is None else result.policy.fdr:g}"
            lines.append(self(procedure, level=level, accounts=f"{len(result.accounts):,}"))
        if result.appeared is not None:
            lines.append(self("appeared", time=moment(result.appeared)))
        if result.refusal:
            lines.append(self("refused", reason=result.refusal))
        return [*lines, self("meaning")]

    def commitment(self, result: Claim) -> str:
        """Return the sentence on the commitment."""
        entry = result.commitment
        if entry is None:
            return self("not committed")
        signed = "signed" if entry.is_verified else "signed, not verified"
        by = self(signed, authority=entry.authority) if entry.authority else self("own clock")
        return self("committed", digest=entry.digest, time=moment(entry.time), by=by)

    def screen(self, suspect: str, result: Claim) -> str:
        """Return a claim as text for the terminal."""
        verdict = f"{suspect}: {self.verdict(result)}"
        against = [f"- {reason}" for reason in self.reasons(result)]
        tables = [aligned(rows) for rows in (self.evidence_table(result), self.account_table(result)) if rows]
        first = "\n".join([verdict, *self.whose(result), *against])
        return "\n\n".join([first, *tables, "\n".join(self.notes(result))])


def _of_task(result: Claim) -> dict[str, str]:
    """Return the suspect's answers to ordinary inputs as text; nothing where it was not asked about any."""
    task = result.task
    if task is None:
        return {}
    return {"asked": f"{task.asked}", "right": f"{task.right:.0%}", "weakest": f"{task.weakest:.0%}"}


def _agreement(part: Evidence) -> list[str]:
    """Return how often suspect and control agree with a mark, and the e-value, as text."""
    return [
        f"{part.agreed:,}", f"{part.control_agreed:,} ({part.control})", f"{part.wins:,} : {part.losses:,}",
        f"10^{part.log_e / math.log(10):.1f}",
    ]  # fmt: skip


def shown(value: float) -> str:
    """Return a number that may be very large or small, as text."""
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def moment(time: float) -> str:
    """Return a time in seconds since the epoch as text, in UTC."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
