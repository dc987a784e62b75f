"""Summary table of results, as commands print it."""

from feint.evaluation.metrics import METRICS, group
from feint.evaluation.results import ResultRow, Results
from feint.evaluation.robust import robust

SHARES, UTILITY = group("theft"), [metric for metric in METRICS if metric.in_summary]
# accuracies in percent with 95 % intervals, KL in nats, added milliseconds per 1,000 queries
HEADS = ("Defense", "Attack", "Queries", "Seeds", *(metric.label() for metric in [*SHARES, *UTILITY]))


def cells(line: ResultRow) -> list[str]:
    """Return one line of the table. Scores that were not measured are empty."""
    shares = (_share(line, metric.name) for metric in SHARES)
    utility = (metric.shown(line.utility) for metric in UTILITY)
    return [line.defense, line.attack, f"{line.budget:,}", f"{line.seeds}", *shares, *utility]


def _share(line: ResultRow, score: str) -> str:
    low, high = line.intervals[score]
    return f"{100 * line.scores[score]:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def markdown(results: Results, heads: tuple[str, ...] = HEADS) -> str:
    """Return the table in Markdown."""
    rows = [heads, ("---",) * len(heads), *(cells(line) for line in results.lines())]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def worst_case(results: Results, defense: str) -> ResultRow | None:
    """Return the best attack on a defense at the largest budget of all; None where `robust.attackers` has none."""
    largest = max((row.budget for row in results if row.attack and not row.error), default=0)
    worst = robust(results, defense, largest)
    if worst is None:
        return None
    where = defense, worst.attack, worst.budget
    return next(line for line in results.lines() if (line.defense, line.attack, line.budget) == where)
