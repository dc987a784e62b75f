"""The table of results that is printed everywhere."""

from feint.evaluation.results import ResultRow, Results
from feint.evaluation.robust import robust

HEADS = (  # accuracies in percent with 95 % intervals, KL in nats, added milliseconds per 1,000 queries
    "Defense",
    "Attack",
    "Queries",
    "Seeds",
    "Stealer accuracy",
    "Fidelity",
    "Defender accuracy",
    "KL",
    "L1",
    "Added ms",
)


def cells(line: ResultRow) -> list[str]:
    """One line of the table; what was not measured stays empty."""
    utility = line.utility
    return [
        line.defense,
        line.attack,
        f"{line.budget:,}",
        f"{line.seeds}",
        _share(line, "stealer_accuracy"),
        _share(line, "fidelity"),
        f"{100 * utility['defender_accuracy']:.2f}" if utility else "",
        f"{utility['kl']:.2f}" if utility else "",
        f"{utility['l1']:.2f}" if utility else "",
        f"{utility['added_ms_per_1000']:.2f}" if utility else "",
    ]


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
