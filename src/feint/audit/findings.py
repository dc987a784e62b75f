"""Findings of an audit: the worst case by budget, the effect of each defense, and the advice that follows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from feint.audit import advice
from feint.audit.advice import Doubt
from feint.audit.candidates import NONE, Candidate
from feint.audit.run import Audit
from feint.evaluation import checks
from feint.evaluation.results import Cell, Results
from feint.evaluation.robust import Robust, robust


@dataclass(frozen=True)
class AttackResult:
    """Worst case over the attackers at one budget, by the copy's accuracy and by its fidelity.

    Attributes:
        budget: Number of queries.
        price: Cost of the queries, None where no price is known.
        stealer_accuracy: Worst case by accuracy.
        fidelity: Worst case by fidelity.
        doubt: Why the worst case is no basis for advice, None where it is one.
    """

    budget: int
    price: float | None
    stealer_accuracy: Robust
    fidelity: Robust
    doubt: Doubt | None = None


@dataclass(frozen=True)
class DefenseEffect:
    """Effect of one candidate.

    Attributes:
        candidate: The defense.
        worst_cases: Worst case behind the defense at each budget that was run.
        compared: The one at the budget at which the defenses are compared; None where it was not measured.
        helps: Whether that one is below the worst case without a defense, and the 95 % intervals of the two are apart.
        utility: Scores of honest clients, by name; empty where they were not measured.
    """

    candidate: Candidate
    worst_cases: tuple[AttackResult, ...]
    compared: AttackResult | None
    helps: bool
    utility: dict[str, float]

    @property
    def cost(self) -> float:
        """Accuracy lost by honest clients, a share."""
        return self.utility["victim_accuracy"] - self.utility["defender_accuracy"]


@dataclass(frozen=True)
class RaisedFlag:
    """Flag of the evaluation's checks.

    Attributes:
        name: Name of the flag.
        numbers: Numbers that raised the flag, each once.
    """

    name: str
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """Findings of one audit.

    Attributes:
        utility: Scores of the undefended model, by name.
        constant: Scores of a model that always gives the same answer.
        n: Number of samples on which models are judged.
        budgets: Budgets of the plan, ascending.
        worst_cases: Worst case without a defense at each budget that was run.
        compared: Budget at which the defenses are compared.
        effects: Effect of each candidate.
        recommended: The effect of the recommended candidate, None where none is recommended.
        query_limit: Recommended budget of each account, None where there is none.
        margin: How far below the model copies must stay, a share.
        attackers: Names of the attackers that were run.
        seeds: Seeds of each theft, the smallest number over all thefts.
        flags: Flags raised by the evaluation's checks.
        failures: Errors of failed cells, each once.
        missing: Number of cells without scores.
        hurried: Whether a stronger attacker was left out for lack of time.
    """

    utility: dict[str, float]
    constant: advice.Constant
    n: int
    budgets: tuple[int, ...]
    worst_cases: tuple[AttackResult, ...]
    compared: int
    effects: tuple[DefenseEffect, ...]
    recommended: DefenseEffect | None
    query_limit: int | None
    margin: float
    attackers: tuple[str, ...]
    seeds: int
    flags: tuple[RaisedFlag, ...]
    failures: tuple[str, ...]
    missing: int
    hurried: bool = False

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Reasons why worst cases without a defense are no basis for advice, each once."""
        return tuple(dict.fromkeys(case.doubt for case in self.worst_cases if case.doubt is not None))

    @property
    def known(self) -> bool:
        """Whether anything is advised: all cells have scores, and the best attacker learned the undefended model."""
        return not self.missing and not self.hurried and any(case.doubt is None for case in self.worst_cases)

    @property
    def deployed(self) -> tuple[AttackResult, ...]:
        """Worst cases of what is recommended: behind the defense, or without one."""
        return self.recommended.worst_cases if self.recommended else self.worst_cases

    @property
    def bought(self) -> AttackResult | None:
        """First worst case without a defense whose copy is near the model for certain: no further cell changes that."""
        near = self.utility.get("victim_accuracy", 1.0) - self.margin
        return next((case for case in self.worst_cases if case.stealer_accuracy.low > near), None)


def collect(audit: Audit, *, price: float | None) -> Findings:
    """Collect the findings of an audit, for a `price` of 1,000 queries."""
    results, setup, missing = audit.results, audit.setup, audit.missing
    budgets = tuple(sorted(setup.plan.size.budgets))

    def cases(defense: str) -> tuple[AttackResult, ...]:
        return worst_cases(results, defense, budgets, price, missing=missing, constant=setup.constant)

    undefended, utility = cases(NONE), results.utility(NONE)
    known = [case for case in undefended if case.doubt is None] or undefended
    compared = known[-1] if known else None
    effects = tuple(
        _effect(candidate, cases(candidate.name), compared, results.utility(candidate.name))
        for candidate in setup.candidates.values()
    )
    accuracy = utility.get("victim_accuracy", 0.0)
    findings = Findings(
        utility=utility,
        constant=setup.constant,
        n=len(setup.samples.judge),
        budgets=budgets,
        worst_cases=undefended,
        compared=compared.budget if compared else budgets[-1],
        effects=effects,
        recommended=None,
        query_limit=None,
        margin=advice.margin(accuracy, setup.constant),
        attackers=tuple(results.names("attack")),
        seeds=min((line.seeds for line in results.lines()), default=0),
        flags=_flags(results),
        failures=tuple(dict.fromkeys(row.error for row in results.failed)),
        missing=len(missing),
        hurried=setup.plan.hurried,
    )
    return _advised(findings) if findings.known else findings


def _advised(findings: Findings) -> Findings:
    """Return the findings with what they recommend."""
    recommended = recommend(findings.effects)
    deployed = recommended.worst_cases if recommended else findings.worst_cases
    limit = query_limit(deployed, findings.utility["victim_accuracy"] - findings.margin)
    return replace(findings, recommended=recommended, query_limit=limit)


def worst_cases(
    results: Results,
    defense: str,
    budgets: Iterable[int],
    price: float | None,
    *,
    missing: Sequence[Cell] = (),
    constant: advice.Constant,
) -> tuple[AttackResult, ...]:
    """Return the worst case at every budget that has been run, for a `price` of 1,000 queries."""  # fmt: skip
    cases = []
    for budget in budgets:
        accuracy = robust(results, defense, budget)
        fidelity = robust(results, defense, budget, "fidelity")
        if accuracy and fidelity:
            doubt = advice.doubt(
                results, defense, budget, missing=missing, accuracy=accuracy, fidelity=fidelity, constant=constant
            )
            spent = None if price is None else price * budget / 1000
            cases.append(AttackResult(budget, spent, accuracy, fidelity, doubt))
    return tuple(cases)


def _effect(
    candidate: Candidate, cases: tuple[AttackResult, ...], undefended: AttackResult | None, utility: dict[str, float]
) -> DefenseEffect:
    compared = next((case for case in cases if undefended and case.budget == undefended.budget), None)
    helps = bool(utility) and _apart(undefended, compared)
    return DefenseEffect(candidate, cases, compared, helps, utility)


def _apart(undefended: AttackResult | None, defended: AttackResult | None) -> bool:
    """Return whether chance does not explain the difference: an unknown or a single seed might."""
    if undefended is None or defended is None or undefended.doubt or defended.doubt:
        return False
    before, after = undefended.stealer_accuracy, defended.stealer_accuracy
    return min(before.seeds, after.seeds) >= checks.SEEDS and after.high < before.low


def _flags(results: Results) -> tuple[RaisedFlag, ...]:
    numbers: dict[str, dict[str, None]] = {}
    for flags in checks.find_flags(results).values():
        for flag in flags:
            numbers.setdefault(flag.name, {})[flag.numbers] = None
    return tuple(RaisedFlag(name, tuple(filter(None, raised))) for name, raised in numbers.items())


def recommend(effects: Sequence[DefenseEffect]) -> DefenseEffect | None:
    """Choose the effect with the lowest worst case among those that help and cost at most one point of accuracy.

    Returns:
        The effect; among equals the one that moves probabilities least (L1), and None where nothing helps.
    """
    good = [effect for effect in effects if effect.helps and effect.cost <= advice.MAX_COST]
    return min(good, key=_rank, default=None)


def _rank(effect: DefenseEffect) -> tuple[float, float]:
    assert effect.compared is not None
    return effect.compared.stealer_accuracy.share, effect.utility["l1"]


def query_limit(cases: Iterable[AttackResult], near: float) -> int | None:
    """Return the largest budget whose attackers learned and up to which no worst case comes `near` the model.

    Args:
        cases: Worst cases, by ascending budget.
        near: Accuracy of a copy from which on it is near the model.
    """
    largest = None
    for case in cases:
        if case.stealer_accuracy.high > near:
            break
        if case.doubt is None:
            largest = case.budget
    return largest
