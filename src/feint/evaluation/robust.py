"""Robust stealer accuracy: the accuracy of the best attacker, by which a defense is judged."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from feint.evaluation import traits
from feint.evaluation.intervals import DRAWS
from feint.evaluation.results import Results, Row
from feint.evaluation.significance import share

Cells = Mapping[str, list[Row]]  # the rows of one defense and budget, by attack


@dataclass(frozen=True)
class Robust:
    """The worst case of a defense over all attacks and lenses.

    Attributes:
        share: Mean score of the best attack, in [0, 1].
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        attack: Name of the best attack.
        budget: Its queries.
        seeds: Number of its seeds.
        naive: Best share of an attack that takes the answers as they are; None where none was run.
        labels_only: Whether the best attack reads labels alone.
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
    """Compute the worst case of a defense.

    Args:
        results: Rows of one victim.
        defense: Name of the defense.
        budget: Queries of the attacks; by default the largest budget of the defense's rows.
        score: The score that is compared.

    Returns:
        The worst case. None where nothing was run, where no worst case can be stated (`attackers`), or where an attack
        lacks the score.
    """
    cells = attackers(results, defense, budget)
    if not cells or any(score not in row.scores for rows in cells.values() for row in rows):
        return None
    worst = max(cells, key=lambda attack: share(cells[attack], score))
    naive = [share(rows, score) for rows in cells.values() if traits.naive(rows[0])]
    low, high = interval_of_maximum(cells, score)
    most = share(cells[worst], score)
    return Robust(
        most,
        min(low, most),  # many equals push the drawn maximum above the one that was measured
        high,
        worst,
        cells[worst][0].budget,
        len(cells[worst]),
        max(naive, default=None),
        traits.labels_only(cells[worst][0]),
    )


def attackers(results: Results, defense: str, budget: int | None = None) -> Cells:
    """Return the rows that a worst case is taken over, by attack; none if an attack on labels alone is missing.

    A defense that keeps the label is worth no more than an API that returns labels. A worst case without an attacker
    who reads labels alone overstates it. Upper bounds, whose lenses hold secrets of the owner, do not count.

    Args:
        results: Rows of one victim.
        defense: Name of the defense.
        budget: Queries of the attacks; by default the largest budget of the defense's rows.

    Returns:
        The rows by attack.
    """
    cells = thefts(results, defense, budget)
    rows = [row for cell in cells.values() for row in cell]
    if not rows or lacks_labels_only(rows, results.utility(defense)):
        return {}
    return {attack: cell for attack, cell in cells.items() if not traits.upper_bound(cell[0])}


def thefts(results: Results, defense: str, budget: int | None = None) -> Cells:
    """Return the rows with scores of one defense and budget (by default the largest), by attack."""
    rows = [row for row in results if row.defense == defense and row.attack and not row.error]
    budget = budget or max((row.budget for row in rows), default=0)
    cells: dict[str, list[Row]] = {}
    for row in rows:
        if row.budget == budget:
            cells.setdefault(row.attack, []).append(row)
    return cells


def lacks_labels_only(rows: list[Row], utility: Mapping[str, float]) -> bool:
    """Return whether a defense keeps the label, and none of its `rows` at one budget attacks the label alone."""
    return (
        traits.keeps_label(rows[0], utility)
        and not traits.returns_labels_only(rows[0])
        and not any(map(traits.labels_only, rows))
    )


def interval_of_maximum(
    cells: Cells, score: str = "stealer_accuracy", *, level: float = 0.95, draws: int = DRAWS
) -> tuple[float, float]:
    """Compute a bootstrap interval of the largest mean share.

    In each draw the seeds of every attack are drawn again with replacement, the share of the test set is drawn around
    each mean (Beta with Jeffreys' prior, as in `intervals.interval`), and the largest share is stored. So the interval
    includes that the best attack is selected by the scores that it is shown with, and that other seeds may select
    another one.

    Attacks that were not run are not covered: the true worst case is never less than that of the attacks here. The mean
    of a drawn maximum lies above the maximum of the means, and the more so the more attacks are nearly equal. So the
    interval errs upwards, against the defense. All attacks share one test set, which would make the interval narrower
    and is not used. With three seeds or fewer the seeds' part is a rough guide; with one seed there is none.

    Args:
        cells: The rows of one defense and budget, by attack.
        score: The score that is compared.
        level: Coverage of the interval.
        draws: Number of bootstrap draws.

    Returns:
        The lower and the upper end, in [0, 1].
    """
    generator, largest = np.random.default_rng(0), np.zeros(draws)
    for rows in cells.values():
        shares, n = np.array([row.scores[score] for row in rows]), rows[0].scores["n_test"]
        means = generator.choice(shares, (draws, len(shares))).mean(-1)
        np.maximum(largest, generator.beta(n * means + 0.5, n * (1 - means) + 0.5), out=largest)
    low, high = np.quantile(largest, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
