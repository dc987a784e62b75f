"""Gate of a build: upper limits of scores at given budgets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from feint.audit.candidates import NONE
from feint.errors import BadInput, FeintError
from feint.evaluation.metrics import group
from feint.evaluation.results import Cell, Results
from feint.evaluation.robust import robust

SCORES = tuple(metric.name for metric in group("theft") if metric.counted)


@dataclass(frozen=True)
class GateLimit:
    """Upper limit of a score's worst case at one budget.

    Attributes:
        score: Name of the score, one of `SCORES`.
        budget: Number of queries.
        maximum: Largest share that passes, in [0, 1].
    """

    score: str
    budget: int
    maximum: float

    @classmethod
    def parse(cls, text: str) -> "GateLimit":
        """Parse a limit like `fidelity@5000=0.85`.

        Returns:
            The limit.

        Raises:
            BadInput: For another form, an unknown score, or a share outside [0, 1].
        """
        match = re.fullmatch(r"\s*(\w+)\s*@\s*([\d_,]+)\s*=\s*(\d*\.?\d+)\s*", text)
        if match is None or match[1] not in SCORES or not 0 <= float(match[3]) <= 1:
            raise BadInput(
                f"--fail-above {text!r}",
                f"SCORE@QUERIES=SHARE, SCORE {' or '.join(SCORES)}",
                'like "fidelity@5000=0.85"',
            )
        return cls(match[1], int(re.sub("[_,]", "", match[2])), float(match[3]))


class NotRun(FeintError):
    """Raised for a limit at a budget that was not run, or not by all attackers."""


def violations(
    limits: Sequence[GateLimit], results: Results, defenses: Sequence[str], missing: Sequence[Cell] = ()
) -> list[str]:
    """Describe every worst case above its limit.

    Args:
        limits: Limits to check.
        results: Rows of the audit.
        defenses: Names of the defenses, each of which must hold every limit; without names, the undefended model.
        missing: Cells that were not run.

    Returns:
        A line for each violation.

    Raises:
        NotRun: If nothing is above its limit, but a result is not measured, failed or among the `missing` cells.
    """
    lines, unknown = [], []
    incomplete = {(cell.defense, cell.budget) for cell in (*results.failed, *missing)}
    for limit in limits:
        for defense in defenses or (NONE,):
            case = robust(results, defense, limit.budget, limit.score)
            if case is not None and case.share > limit.maximum:
                score = f"{limit.score}@{limit.budget}"
                lines.append(f"{score} is {case.share:.3f} ({case.attack}, {defense}), above {limit.maximum:g}")
            elif case is None or (defense, limit.budget) in incomplete:
                unknown.append(f"{limit.score}@{limit.budget} ({defense})")
    if unknown and not lines:
        raise NotRun(
            f"no complete result for {', '.join(unknown)}", "a budget that was run by all attackers",
            "give a larger pool, or run the same command again",
        )  # fmt: skip
    return lines
