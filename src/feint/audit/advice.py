"""Advice of an audit: drawn only from attackers that learned, and never from numbers that more minutes could change."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from feint.evaluation import checks, traits
from feint.evaluation.results import Cell, Results, Row
from feint.evaluation.robust import Robust, attackers

MARGIN = 0.10  # below the victim's accuracy: a copy that is still this far off is worth less than the model
GAIN = 0.5  # of the model's gain over the most frequent class, where half of that is less than the margin
LEARNED = 0.5  # of what there is to learn beyond the most frequent answer, on inputs that judge the copy
MAX_COST = 0.01  # of accuracy: a defense that takes more from honest clients is not recommended


class Doubt(StrEnum):
    """Reason why a worst case is no basis for advice. The value names its phrase in texts.toml."""

    MISSING = "doubt missing"
    FAILED = "doubt failed"
    NOT_CONVERGED = "doubt not converged"
    CONSTANT = "doubt constant"


@dataclass(frozen=True)
class Constant:
    """Scores of a model that always gives the same answer: an attacker who gets no more has learned nothing.

    Attributes:
        accuracy: Share of the most frequent class.
        fidelity: Share of the model's most frequent answer.
    """

    accuracy: float
    fidelity: float


def margin(accuracy: float, constant: Constant) -> float:
    """Return how far below the model's `accuracy` a copy must stay.

    Ten points, but at most half of what the model gains over the most frequent class: in imbalanced data even a
    constant answer is within ten points of a good model.
    """
    return min(MARGIN, max(0.0, GAIN * (accuracy - constant.accuracy)))


def doubt(
    results: Results,
    defense: str,
    budget: int,
    *,
    missing: Sequence[Cell],
    accuracy: Robust,
    fidelity: Robust,
    constant: Constant,
) -> Doubt | None:
    """Return why the worst case of a defense at a budget is no basis for advice.

    Args:
        results: Rows of the audit.
        defense: Name of the defense.
        budget: Number of queries.
        missing: Cells without scores.
        accuracy: The worst case by accuracy.
        fidelity: The worst case by fidelity.
        constant: Scores of a constant answer.

    Returns:
        The first reason; None where every attacker was run, learned the answers, and got more than a constant answer.
    """  # fmt: skip
    here = defense, budget
    if any((row.defense, row.budget) == here for row in results.failed):
        return Doubt.FAILED
    if any((cell.defense, cell.budget) == here for cell in missing):
        return Doubt.MISSING
    if not all(_learned(row, constant) for row in _decisive(results, defense, budget, accuracy.attack)):
        return Doubt.NOT_CONVERGED
    if accuracy.low <= constant.accuracy and fidelity.low <= constant.fidelity:
        return Doubt.CONSTANT
    return None


def _decisive(results: Results, defense: str, budget: int, worst: str) -> list[Row]:
    """Return the rows that must have converged: those of the worst attacker and, without a defense, of all.

    Behind a defense an attacker who takes the answers as they are may fail to learn: that is what the defense is for.
    """
    cells = attackers(results, defense, budget)
    everything = [row for rows in cells.values() for row in rows]
    return everything if everything and traits.undefended(everything[0]) else list(cells.get(worst, ()))


def _learned(row: Row, constant: Constant) -> bool:
    """Return whether a copy reproduces what it read, or else half of what there is to learn.

    A small surrogate of a large model explains little of the answers' last digits, and may still agree with the model
    on nearly all inputs: a logistic regression that agreed with XGBoost on 91 % of the rows of Adult, where 79 % have
    one label, explained 84.5 % of its answers.
    """
    converged = all(flag.name != "not-converged" for flag in checks.row_flags(row))
    gain = row.scores.get("fidelity", 0.0) - constant.fidelity
    return converged or gain >= LEARNED * (1 - constant.fidelity)
