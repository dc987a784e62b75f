"""The gate of a build: scores at budgets that must not be above a limit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from feint.audit.candidates import NONE
from feint.errors import BadInput, FeintError
from feint.evaluation.metrics import group
from feint.evaluation.results import Cell, Results
from feint.evaluation.robust import robust

SCORES = tuple(known.name for known in group("theft"))


@dataclass(frozen=True)
class GateLimit:
    """A `score` that the worst case at a `budget` must not be above."""

    score: str
    budget: int
    most: float

    @classmethod
    def parse(cls, text: str) -> "GateLimit":
        """The limit that is written as `fidelity@5000=0.85`. Raises `BadInput`."""
        match = re.fullmatch(r"\s*(\w+)\s*@\s*([\d_,]+)\s*=\s*(\d*\.?\d+)\s*", text)
        if match is None or match[1] not in SCORES or not 0 <= float(match[3]) <= 1:
            raise BadInput(
                f"--fail-above {text!r}",
                f"SCORE@QUERIES=SHARE, SCORE {' or '.join(SCORES)}",
                'like "fidelity@5000=0.85"',
            )
        return cls(match[1], int(re.sub("[_,]", "", match[2])), float(match[3]))


class NotRun(FeintError):
    """A limit is set at a budget that was not run, or not by all attackers."""


def above(
    limits: Sequence[GateLimit], results: Results, defenses: Sequence[str], missing: Sequence[Cell] = ()
) -> list[str]:
    """What is above its limit, a line each: every one of the `defenses` given is judged, or none where none was given.

    Raises `NotRun` where nothing is above, and something was not measured, failed, or is among the `missing` cells.
    """
    lines, unknown = [], []
    incomplete = {(it.defense, it.budget) for it in (*results.failed, *missing)}
    for limit in limits:
        for defense in defenses or (NONE,):
            case = robust(results, defense, limit.budget, limit.score)
            if case is not None and case.share > limit.most:
                lines.append(
                    f"{limit.score}@{limit.budget} is {case.share:.3f} ({case.attack}, {defense}), above {limit.most:g}"
                )
            elif case is None or (defense, limit.budget) in incomplete:
                unknown.append(f"{limit.score}@{limit.budget} ({defense})")
    if unknown and not lines:
        raise NotRun(
            f"no complete result for {', '.join(unknown)}", "a budget that was run by all attackers",
            "bring a pool that is larger, or run the same command again",
        )  # fmt: skip
    return lines
