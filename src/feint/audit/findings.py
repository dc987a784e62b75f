"""Findings of an audit: the worst case by budget, the effect of each defense, and the recommended one."""

from collections.abc import Sequence
from dataclasses import dataclass

from feint.audit.candidates import NONE, Candidate
from feint.audit.run import Audit
from feint.evaluation import checks
from feint.evaluation.results import Results
from feint.evaluation.robust import Robust, robust

MARGIN = 0.10  # below the victim's accuracy: a copy that is still this far off is worth less than the model
MAX_COST = 0.01  # of accuracy: a defense that takes more from honest clients is not recommended


@dataclass(frozen=True)
class AttackResult:
    """Worst case over the attackers at one budget, by the copy's accuracy and by its fidelity.

    Attributes:
        budget: Number of queries.
        price: Cost of the queries, None where no price is known.
        stealer_accuracy: Worst case by accuracy.
        fidelity: Worst case by fidelity.
    """

    budget: int
    price: float | None
    stealer_accuracy: Robust
    fidelity: Robust


@dataclass(frozen=True)
class DefenseEffect:
    """Effect of one candidate.

    Attributes:
        candidate: The defense.
        worst_cases: Worst case behind the defense at each budget that was run.
        naive: Accuracy of the copy of an attacker who takes the answers at face value, None where not measured.
        helps: Whether the worst case at the largest common budget is below that without a defense, and the 95 %
            intervals of the two are apart.
        utility: Scores of honest clients, by name.
    """

    candidate: Candidate
    worst_cases: tuple[AttackResult, ...]
    naive: float | None
    helps: bool
    utility: dict[str, float]

    @property
    def cost(self) -> float:
        """Accuracy lost by honest clients, a share."""
        return self.utility["victim_accuracy"] - self.utility["defender_accuracy"]


@dataclass(frozen=True)
class Findings:
    """Findings of one audit.

    Attributes:
        utility: Scores of the undefended model, by name.
        n: Number of samples on which models are judged.
        worst_cases: Worst case without a defense at each budget that was run.
        effects: Effect of each candidate that was measured.
        recommended: The effect of the recommended candidate, None where none is recommended.
        query_limit: Recommended budget of each client, None where the smallest budget already buys a good copy.
        attackers: Names of the attackers that were run.
        seeds: Seeds of each theft, the smallest number over all thefts.
        flags: Names of the flags raised by the evaluation's checks.
        failures: Errors of failed cells, each once.
        missing: Number of cells without scores.
    """

    utility: dict[str, float]
    n: int
    worst_cases: tuple[AttackResult, ...]
    effects: tuple[DefenseEffect, ...]
    recommended: DefenseEffect | None
    query_limit: int | None
    attackers: tuple[str, ...]
    seeds: int
    flags: tuple[str, ...]
    failures: tuple[str, ...]
    missing: int


def collect(audit: Audit, *, price: float | None) -> Findings:
    """Collect the findings of an audit, for a `price` of 1,000 queries."""
    results, candidates, budgets = audit.results, audit.setup.candidates, audit.setup.plan.size.budgets
    undefended = worst_cases(results, NONE, budgets, price)
    measured = [_effect(results, candidate, undefended, budgets, price) for candidate in candidates.values()]
    effects = tuple(effect for effect in measured if effect is not None)
    recommended = recommend(effects)
    utility = results.utility(NONE)
    deployed = recommended.worst_cases if recommended else undefended
    flags = tuple(dict.fromkeys(flag.name for flags in checks.find_flags(results).values() for flag in flags))
    return Findings(
        utility,
        len(audit.setup.samples.judge),
        undefended,
        effects,
        recommended,
        query_limit(deployed, utility.get("victim_accuracy", 0.0)),
        tuple(results.names("attack")),
        min((line.seeds for line in results.lines()), default=0),
        flags,
        tuple(dict.fromkeys(row.error for row in results.failed)),
        len(audit.missing),
    )


def worst_cases(
    results: Results, defense: str, budgets: Sequence[int], price: float | None
) -> tuple[AttackResult, ...]:
    """Return the worst case at every budget that has been run, for a `price` of 1,000 queries."""
    cases = []
    for budget in budgets:
        accuracy = robust(results, defense, budget)
        fidelity = robust(results, defense, budget, "fidelity")
        if accuracy and fidelity:
            cases.append(AttackResult(budget, None if price is None else price * budget / 1000, accuracy, fidelity))
    return tuple(cases)


def _effect(
    results: Results,
    candidate: Candidate,
    undefended: Sequence[AttackResult],
    budgets: Sequence[int],
    price: float | None,
) -> DefenseEffect | None:
    cases, utility = worst_cases(results, candidate.name, budgets, price), results.utility(candidate.name)
    common = {case.budget: case for case in undefended}
    if not cases or not utility or cases[-1].budget not in common:
        return None
    last = cases[-1]
    helps = last.stealer_accuracy.high < common[last.budget].stealer_accuracy.low
    return DefenseEffect(candidate, cases, last.stealer_accuracy.naive, helps, utility)


def recommend(effects: Sequence[DefenseEffect]) -> DefenseEffect | None:
    """Choose the effect with the lowest worst case among those that help and cost at most one point of accuracy.

    Returns:
        The effect; among equals the one that moves probabilities least (L1), and None where nothing helps.
    """
    good = [effect for effect in effects if effect.helps and effect.cost <= MAX_COST]
    return min(
        good, key=lambda effect: (effect.worst_cases[-1].stealer_accuracy.share, effect.utility["l1"]), default=None
    )


def query_limit(cases: Sequence[AttackResult], accuracy: float) -> int | None:
    """Return the largest budget up to which every worst case stays ten points below the victim's `accuracy`."""
    largest = None
    for case in cases:
        if case.stealer_accuracy.high > accuracy - MARGIN:
            break
        largest = case.budget
    return largest
