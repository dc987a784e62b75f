"""Summary table of results, as commands print it."""

from feint.evaluation.metrics import METRICS, Metric
from feint.evaluation.results import ResultRow, Results
from feint.evaluation.robust import robust

SHARES, UTILITY = (
    [metric for metric in METRICS if metric.in_summary and (metric.group == "theft") == theft]
    for theft in (True, False)
)
# accuracies in percent with 95 % intervals, KL in nats, added milliseconds per 1,000 queries
HEADS = ("Defense", "Attack", "Queries", "Seeds", *(metric.label() for metric in [*SHARES, *UTILITY]))


def cells(line: ResultRow) -> list[str]:
    """Return one line of the table. Scores that were not measured are empty."""
    shares = (theft_score(line, metric) for metric in SHARES)
    utility = (metric.shown(line.utility) for metric in UTILITY)
    return [line.defense, line.attack, f"{line.budget:,}", f"{line.seeds}", *shares, *utility]


def theft_score(line: ResultRow, metric: Metric) -> str:
    """Return a score of a theft, with its interval where it has one; empty where it was not measured."""
    mean = metric.shown(line.scores)
    if metric.name not in line.intervals:
        return mean
    low, high = line.intervals[metric.name]
    return f"{mean} ({100 * low:.1f}–{100 * high:.1f})"


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
