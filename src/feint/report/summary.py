"""The table of results that is printed everywhere."""

from feint.evaluation.metrics import METRICS, group
from feint.evaluation.results import ResultRow, Results
from feint.evaluation.robust import robust

SHARES, UTILITY = group("theft"), [known for known in METRICS if known.in_summary]
# accuracies in percent with 95 % intervals, KL in nats, added milliseconds per 1,000 queries
HEADS = ("Defense", "Attack", "Queries", "Seeds", *(known.label() for known in [*SHARES, *UTILITY]))


def cells(line: ResultRow) -> list[str]:
    """One line of the table; what was not measured stays empty."""
    shares = (_share(line, known.name) for known in SHARES)
    utility = (known.shown(line.utility) for known in UTILITY)
    return [line.defense, line.attack, f"{line.budget:,}", f"{line.seeds}", *shares, *utility]


def _share(line: ResultRow, score: str) -> str:
    low, high = line.intervals[score]
    return f"{100 * line.scores[score]:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def markdown(results: Results, heads: tuple[str, ...] = HEADS) -> str:
    """The table in Markdown."""
    rows = [heads, ("---",) * len(heads), *(cells(line) for line in results.lines())]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def worst_case(results: Results, defense: str) -> ResultRow | None:
    """The attack that gets most from a defense at the largest budget of all; None where `robust.attackers` has none."""
    largest = max((row.budget for row in results if row.attack and not row.error), default=0)
    worst = robust(results, defense, largest)
    if worst is None:
        return None
    where = defense, worst.attack, worst.budget
    return next(line for line in results.lines() if (line.defense, line.attack, line.budget) == where)
