"""The evaluation suspects itself: what speaks against a row, or against what would be concluded from it.

Every flag has an entry in docs/reference/checks.md: what it means, how it is computed, why at that threshold,
what to do.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from feint.evaluation import traits
from feint.evaluation.results import Results, Row
from feint.evaluation.robust import Cells, attackers, lacks_labels_only
from feint.evaluation.significance import noise, share

SEEDS = 3  # fewer say nothing of the spread between them
EXPLAINED = 0.85  # of what was read; measured in docs/reference/checks.md
OVERLAP = 0.001  # of the test set
ANSWERED = 0.99  # of the budget


class Flag(NamedTuple):
    """Why a row is not to be trusted. `name` is its section in docs/reference/checks.md; `numbers` raised it."""

    name: str
    numbers: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.numbers}" if self.numbers else self.name


Finding = Iterator[tuple[Row, Flag]]


def find_flags(results: Results) -> dict[str, list[Flag]]:
    """The flags of every row, by its fingerprint; none for a row to be trusted. Rows of older versions are judged by
    what they tell."""
    found = {row.fingerprint: own(row) + _noted(row) for row in results}
    for side in map(_Side, _comparable(results)):
        for check in CHECKS:
            for row, flag in check(side):
                found[row.fingerprint].append(flag)
    return found


def verdict(flags: Sequence[Flag]) -> str:
    """ "trusted", or the names of the flags."""
    return ", ".join(dict.fromkeys(flag.name for flag in flags)) or "trusted"


def own(row: Row) -> list[Flag]:
    """The flags that a row has by itself, whatever else was run."""
    if row.error:
        return [Flag("failed", row.error)]
    return list(_own(row)) if row.attack else []


def _own(row: Row) -> Iterator[Flag]:
    n, explained, overlap = row.scores["n_test"], row.scores.get("explained"), row.scores.get("overlap", 0)
    if explained is not None and explained < EXPLAINED and not traits.noisy(row):
        yield Flag("not-converged", f"{explained:.1%}")
    if traits.holds_test_data(row):
        yield Flag("tuned-on-test")
    if overlap > OVERLAP * n:
        yield Flag("pool-overlaps-test", f"{overlap:,.0f}/{n:,.0f}")
    rules = any(map(row.recipe["defense"].get, ("access", "rungs")))
    if rules and row.asked < ANSWERED * row.budget:
        yield Flag("refused", f"{row.asked:,}/{row.budget:,}")


def _noted(row: Row) -> list[Flag]:
    """What was noted when the row was made, by this version or another, and is not found again from its facts."""
    noted = (Flag(*text.split(": ", 1)) for text in row.flags)
    found = {flag.name for flag in own(row)}
    return [flag for flag in noted if flag.name not in found]


def _comparable(results: Results) -> list[Results]:
    """Rows apart by what they were measured on: a victim and a test set."""
    sides: dict[tuple[str, str, str], list[Row]] = {}
    for row in results:
        sides.setdefault((row.victim, row.recipe["victim"], row.recipe["test"]["fingerprint"]), []).append(row)
    return [Results(rows) for rows in sides.values()]


class _Side:
    """The rows on one victim and test set, as the checks look at them: `cells[defense, budget][attack]`."""

    def __init__(self, results: Results) -> None:
        self.results, self.cells = results, dict[tuple[str, int], dict[str, list[Row]]]()
        for row in results:
            if row.attack and not row.error:
                cell = self.cells.setdefault((row.defense, row.budget), {})
                cell.setdefault(row.attack, []).append(row)

    def of(self, defense: str, budget: int) -> list[Row]:
        return [row for rows in self.cells[defense, budget].values() for row in rows]

    def undefended(self, budget: int) -> list[list[Row]]:
        """The cells without a defense at a budget."""
        found = [rows for (_, b), cells in self.cells.items() if b == budget for rows in cells.values()]
        return [rows for rows in found if traits.undefended(rows[0])]


def _labels_only_missing(side: _Side) -> Finding:
    for defense, budget in side.cells:
        rows = side.of(defense, budget)
        if lacks_labels_only(rows, side.results.utility(defense)):
            for row in rows:
                yield row, Flag("labels-only-missing")


def _averaging_missing(side: _Side) -> Finding:
    """Draws are keyed to the query, so that asking it again (`Averaged`) reads the same answer: only copies help."""
    for defense, budget in side.cells:
        rows = side.of(defense, budget)
        if traits.draws(rows[0]) and not any(map(traits.averages_copies, rows)):
            for row in rows:
                yield row, Flag("averaging-missing")


def _above_undefended(side: _Side) -> Finding:
    for (_, budget), cells in side.cells.items():
        for rows in cells.values():
            if traits.undefended(rows[0]) or traits.upper_bound(rows[0]):
                continue
            bare = [it for it in side.undefended(budget) if _same_attack(it[0], rows[0])]
            best = max(bare, key=share, default=None)
            if best is not None and share(rows) - share(best) > noise(rows, best):
                name = "defense-above-undefended" if traits.naive(rows[0]) else "lens-above-undefended"
                for row in rows:
                    yield row, Flag(name, _beside(rows, [best]))


def _same_attack(some: Row, other: Row) -> bool:
    return traits.attack_alone(some) == traits.attack_alone(other)


def _few_seeds(side: _Side) -> Finding:
    for cells in side.cells.values():
        for rows in cells.values():
            if len(rows) < SEEDS:
                for row in rows:
                    yield row, Flag("few-seeds", f"{len(rows)}")


def _within_noise(side: _Side) -> Finding:
    """Worst cases that differ, and by less than chance may: no claim can be built on which is better."""
    for budget in dict.fromkeys(budget for _, budget in side.cells):
        defenses = [defense for defense, at in side.cells if at == budget]
        worst = [max(cells.values(), key=share) for it in defenses if (cells := attackers(side.results, it, budget))]
        for rows in worst:
            near = [it for it in worst if _differ(rows, it) and abs(share(rows) - share(it)) <= noise(rows, it)]
            if near and not traits.undefended(rows[0]):
                for row in rows:
                    yield row, Flag("within-noise", _beside(rows, near))


def _differ(some: Sequence[Row], others: Sequence[Row]) -> bool:
    """Whether two cells say something else where both have a seed; the same labels make the same surrogate."""
    shares = {row.seed: row.scores["stealer_accuracy"] for row in others}
    return any(row.scores["stealer_accuracy"] != shares.get(row.seed) for row in some if row.seed in shares)


def _beside(rows: Sequence[Row], others: Sequence[Sequence[Row]]) -> str:
    them = (f"{it[0].defense} {100 * share(it):.1f} ± {100 * noise(rows, it):.1f}" for it in others)
    return f"{100 * share(rows):.1f}; {', '.join(them)}"


def _best_of_trainings(side: _Side) -> Finding:
    for defense, budget in side.cells:
        cells: Cells = attackers(side.results, defense, budget)
        if not cells:
            continue
        worst = max(cells.values(), key=share)
        alike = [it for it in cells.values() if traits.but_for_training(it[0]) == traits.but_for_training(worst[0])]
        if len(alike) > 1:
            for row in worst:
                yield row, Flag("tuned-on-test", f"{len(alike)}")


CHECKS: tuple[Callable[[_Side], Finding], ...] = (
    _labels_only_missing,
    _averaging_missing,
    _above_undefended,
    _few_seeds,
    _within_noise,
    _best_of_trainings,
)
