"""Gate of a build: upper limits of scores at given budgets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from feint.audit.candidates import NONE
from feint.audit.findings import worst_cases
from feint.audit.run import Audit
from feint.audit.text import AuditText
from feint.errors import BadInput, FeintError

SCORES = "stealer_accuracy", "fidelity"  # of the copy


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
    """Raised for a limit at a budget that was not run, not by all attackers, or by attackers who did not learn."""


def violations(limits: Sequence[GateLimit], audit: Audit, defenses: Sequence[str]) -> list[str]:
    """Describe every worst case above its limit.

    Args:
        limits: Limits to check.
        audit: The audit.
        defenses: Names of the defenses, each of which must hold every limit; without names, the undefended model.

    Returns:
        A line for each violation.

    Raises:
        NotRun: If nothing is above its limit, but a result is not measured or no basis for a conclusion.
    """
    lines, unknown = [], []
    for limit in limits:
        for defense in defenses or (NONE,):
            cases = worst_cases(
                audit.results, defense, [limit.budget], None, missing=audit.missing, constant=audit.setup.constant
            )
            case = getattr(cases[0], limit.score) if cases else None
            if case is not None and case.share > limit.maximum:
                score = f"{limit.score}@{limit.budget}"
                lines.append(f"{score} is {case.share:.3f} ({case.attack}, {defense}), above {limit.maximum:g}")
            elif not cases or cases[0].doubt is not None:
                why = f", {AuditText()(cases[0].doubt)}" if cases and cases[0].doubt else ""
                unknown.append(f"{limit.score}@{limit.budget} ({defense}{why})")
    if unknown and not lines:
        raise NotRun(
            f"no complete result for {', '.join(unknown)}", "a budget that was run by all attackers, who learned",
            "give a larger pool or more minutes, or run the same command again",
        )  # fmt: skip
    return lines
