"""Results in words: the table that is printed everywhere, and what it means."""

from feint.evaluation.results import Line, Results
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


def cells(line: Line) -> list[str]:
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


def _share(line: Line, score: str) -> str:
    low, high = line.intervals[score]
    return f"{100 * line.scores[score]:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def markdown(results: Results, heads: tuple[str, ...] = HEADS) -> str:
    """The table in Markdown."""
    rows = [heads, ("---",) * len(heads), *(cells(line) for line in results.lines())]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def worst_case(results: Results, defense: str) -> Line | None:
    """The attack that gets most from a defense at the largest budget of all; None where `robust.attackers` has none."""
    largest = max((row.budget for row in results if row.attack and not row.error), default=0)
    worst = robust(results, defense, largest)
    if worst is None:
        return None
    where = defense, worst.attack, worst.budget
    return next(line for line in results.lines() if (line.defense, line.attack, line.budget) == where)


def sentences(results: Results) -> list[str]:
    """What the rows say, in plain words, the bad news included. The first defense is taken to be none."""
    names = results.names("defense")
    bare = worst_case(results, names[0]) if names else None
    if bare is None:
        return []
    victim = results.utility(bare.defense)["victim_accuracy"]
    said = [
        f"Without a defense, {bare.budget:,} queries buy a copy that is right on "
        f"{bare.scores['stealer_accuracy']:.1%} of the test set; the victim itself is right on {victim:.1%}."
    ]
    for defense in names[1:]:
        worst, utility = worst_case(results, defense), results.utility(defense)
        naive = next((it for it in results.lines() if (it.defense, it.budget) == (defense, bare.budget)), None)
        if worst is None or naive is None:
            continue
        lost = victim - utility["defender_accuracy"]
        said.append(
            f"{defense}: a thief who believes the answers ends at {naive.scores['stealer_accuracy']:.1%}, but the "
            f"worst case is {worst.scores['stealer_accuracy']:.1%} ({worst.attack}), and that is the number to judge "
            f"it by. An honest client's accuracy is {'unchanged' if lost == 0 else f'{lost:.2%} lower'}; his "
            f"probabilities mean little, with an L1 distortion of {utility['l1']:.2f} (of at most 2) and a calibration "
            f"error of {utility['ece']:.2f} instead of {utility['victim_ece']:.2f}."
        )
    said.append(
        "The bad news: a defense that keeps the label cannot do better than an API that returns labels only. Whoever "
        "keeps the label and throws the rest away trains on exactly what an undefended label-only API would have told "
        "him. The rows “labels only” are the line that such a defense is judged by."
    )
    return said
