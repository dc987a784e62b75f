"""What the rows of an audit amount to: what a thief gets, what each defense changes, and which to deploy."""

from collections.abc import Sequence
from dataclasses import dataclass

from feint.audit.candidates import NONE, Candidate
from feint.audit.run import Audit
from feint.evaluation import checks
from feint.evaluation.results import Results
from feint.evaluation.robust import Robust, robust

NEAR = 0.10  # below the victim's accuracy: a copy that is still this far off is worth less than the model
COST = 0.01  # of accuracy: a defense that takes more from honest clients is not recommended


@dataclass(frozen=True)
class AttackResult:
    """The worst case at one budget: as the copy's accuracy, and as its fidelity."""

    budget: int
    price: float | None
    stealer_accuracy: Robust
    fidelity: Robust


@dataclass(frozen=True)
class DefenseEffect:
    """What a candidate would change: the worst cases behind it, `naive` for who believes its answers, and its utility.

    `helps` where its worst case at the largest common budget is below that of no defense by more than their intervals.
    """

    candidate: Candidate
    thefts: tuple[AttackResult, ...]
    naive: float | None
    helps: bool
    utility: dict[str, float]

    @property
    def cost(self) -> float:
        """The accuracy that honest clients lose."""
        return self.utility["victim_accuracy"] - self.utility["defender_accuracy"]


@dataclass(frozen=True)
class Findings:
    """All that an audit says. `deploy` is one of the changes, None for none of them; `limit` a number of queries for
    each client, None where even the least budget buys a copy near the victim; `flags` what speaks against it."""

    utility: dict[str, float]
    n: int
    thefts: tuple[AttackResult, ...]
    changes: tuple[DefenseEffect, ...]
    deploy: DefenseEffect | None
    limit: int | None
    attackers: tuple[str, ...]
    seeds: int
    flags: tuple[str, ...]
    failures: tuple[str, ...]
    missing: int

    def thefts_behind(self, defense: str) -> tuple[AttackResult, ...]:
        """The worst cases behind a defense, by name."""
        return (
            self.thefts if defense == NONE else next(it.thefts for it in self.changes if it.candidate.name == defense)
        )


def collect(audit: Audit, *, price: float | None) -> Findings:
    """The findings of an audit, for a `price` of 1,000 queries."""
    results, tried, budgets = audit.results, audit.work.tried, audit.work.plan.size.budgets
    thefts = worst_cases(results, NONE, budgets, price)
    changes = tuple(it for candidate in tried.values() if (it := _change(results, candidate, thefts, budgets, price)))
    deploy = recommended(changes)
    utility = results.utility(NONE)
    behind = deploy.thefts if deploy else thefts
    flags = tuple(dict.fromkeys(flag.name for it in checks.find_flags(results).values() for flag in it))
    return Findings(
        utility,
        len(audit.work.samples.judge),
        thefts,
        changes,
        deploy,
        limit(behind, utility.get("victim_accuracy", 0.0)),
        tuple(results.names("attack")),
        min((line.seeds for line in results.lines()), default=0),
        flags,
        tuple(dict.fromkeys(row.error for row in results.failed)),
        len(audit.missing),
    )


def worst_cases(
    results: Results, defense: str, budgets: Sequence[int], price: float | None
) -> tuple[AttackResult, ...]:
    """The worst case at every budget that has been run."""
    cases = []
    for budget in budgets:
        accuracy = robust(results, defense, budget)
        fidelity = robust(results, defense, budget, "fidelity")
        if accuracy and fidelity:
            cases.append(AttackResult(budget, None if price is None else price * budget / 1000, accuracy, fidelity))
    return tuple(cases)


def _change(
    results: Results, candidate: Candidate, bare: Sequence[AttackResult], budgets: Sequence[int], price: float | None
) -> DefenseEffect | None:
    thefts, utility = worst_cases(results, candidate.name, budgets, price), results.utility(candidate.name)
    common = {it.budget: it for it in bare}
    if not thefts or not utility or thefts[-1].budget not in common:
        return None
    last = thefts[-1]
    helps = last.stealer_accuracy.high < common[last.budget].stealer_accuracy.low
    return DefenseEffect(candidate, thefts, last.stealer_accuracy.naive, helps, utility)


def recommended(changes: Sequence[DefenseEffect]) -> DefenseEffect | None:
    """Of those that help and cost little accuracy, the one behind which a thief gets least; among equals, the one that
    distorts least."""
    good = [it for it in changes if it.helps and it.cost <= COST]
    return min(good, key=lambda it: (it.thefts[-1].stealer_accuracy.share, it.utility["l1"]), default=None)


def limit(thefts: Sequence[AttackResult], accuracy: float) -> int | None:
    """The largest budget that was run whose worst case, with all below it, is not near the victim."""
    far = None
    for theft in thefts:
        if theft.stealer_accuracy.high > accuracy - NEAR:
            break
        far = theft.budget
    return far
