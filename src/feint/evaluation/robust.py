"""Robust stealer accuracy: what the best of all attackers gets, which is what a defense is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from feint.evaluation import traits
from feint.evaluation.metrics import DRAWS
from feint.evaluation.results import Results, Row
from feint.evaluation.significance import share

Cells = Mapping[str, list[Row]]  # the rows of one defense and budget, by attack


@dataclass(frozen=True)
class Robust:
    """The worst case of a defense over all attacks and lenses, with a 95 % interval.

    `attack` is the one that got the share, over so many `seeds`, and `labels_only` whether it reads labels alone;
    `naive` is the best share of those who believe the answers as they are, None where none was run.
    """

    share: float
    low: float
    high: float
    attack: str
    budget: int
    seeds: int
    naive: float | None
    labels_only: bool = False


def robust(results: Results, defense: str, budget: int | None = None, score: str = "stealer_accuracy") -> Robust | None:
    """The worst case of a defense, in `results` of one victim, at the largest budget it has rows at.

    None where nothing was run, or where a worst case would say too little (`attackers`).
    """
    cells = attackers(results, defense, budget)
    if not cells:
        return None
    worst = max(cells, key=lambda attack: share(cells[attack], score))
    believers = [share(rows, score) for rows in cells.values() if traits.naive(rows[0])]
    low, high = interval_of_maximum(cells, score)
    most = share(cells[worst], score)
    return Robust(
        most,
        min(low, most),  # many equals push the drawn maximum above the one that was measured
        high,
        worst,
        cells[worst][0].budget,
        len(cells[worst]),
        max(believers, default=None),
        traits.labels_only(cells[worst][0]),
    )


def attackers(results: Results, defense: str, budget: int | None = None) -> Cells:
    """The attacks that a worst case is taken over; none at all where it would not have seen labels only.

    A defense that keeps the label is worth no more than an API that returns labels, so that a worst case without a
    thief who reads these alone flatters it. Lenses that hold what no attacker has, upper bounds, do not count.
    """
    cells = thefts(results, defense, budget)
    rows = [row for cell in cells.values() for row in cell]
    if not rows or lacks_labels_only(rows, results.utility(defense)):
        return {}
    return {attack: cell for attack, cell in cells.items() if not traits.upper_bound(cell[0])}


def thefts(results: Results, defense: str, budget: int | None = None) -> Cells:
    """All rows with scores of one defense and budget, by attack; the largest budget there is if none is named."""
    rows = [row for row in results if row.defense == defense and row.attack and not row.error]
    budget = budget or max((row.budget for row in rows), default=0)
    cells: dict[str, list[Row]] = {}
    for row in rows:
        if row.budget == budget:
            cells.setdefault(row.attack, []).append(row)
    return cells


def lacks_labels_only(rows: list[Row], utility: Mapping[str, float]) -> bool:
    """Whether a defense keeps the label, and none of its `rows` at one budget is of a thief who reads it alone."""
    return (
        traits.keeps_label(rows[0], utility)
        and not traits.tells_labels_alone(rows[0])
        and not any(map(traits.labels_only, rows))
    )


def interval_of_maximum(
    cells: Cells, score: str = "stealer_accuracy", *, level: float = 0.95, draws: int = DRAWS
) -> tuple[float, float]:
    """A bootstrap interval of the largest mean share.

    In each draw the seeds of every attack are drawn again with replacement, the share of the test set is drawn around
    each mean (Beta with Jeffreys' prior, as in `metrics.interval`), and the largest share is kept. So it covers that
    the winner was picked by the same numbers that it is shown with, and that another seed might have had another one.

    It does not cover attacks that were not run: the true worst case is never less than that of the attacks here. The
    mean of a drawn maximum lies above the maximum of the means, and the more so the more attacks are nearly equal, so
    that the interval errs upwards, against the defense. That all share one test set would make it narrower, and is not
    used. With three seeds or fewer the seeds' part is a rough guide, with one there is none.
    """
    generator, largest = np.random.default_rng(0), np.zeros(draws)
    for rows in cells.values():
        shares, n = np.array([row.scores[score] for row in rows]), rows[0].scores["n_test"]
        means = generator.choice(shares, (draws, len(shares))).mean(-1)
        np.maximum(largest, generator.beta(n * means + 0.5, n * (1 - means) + 0.5), out=largest)
    low, high = np.quantile(largest, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
