"""Checks that flag rows, or the conclusions drawn from them, as unreliable.

Every flag has an entry in docs/reference/checks.md: what it means, how it is computed, why at that threshold,
what to do.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from feint.evaluation import traits
from feint.evaluation.results import Results, Row
from feint.evaluation.robust import Cells, attackers, lacks_labels_only
from feint.evaluation.significance import noise, share

SEEDS = 3  # fewer give no estimate of the spread between them
EXPLAINED = 0.85  # of the answers that the attack read; measured in docs/reference/checks.md
OVERLAP = 0.001  # of the test set, or of the pool
ANSWERED = 0.99  # of the budget


class Flag(NamedTuple):
    """A reason not to trust a row.

    Attributes:
        name: Entry in docs/reference/checks.md.
        numbers: The numbers that raised the flag.
    """

    name: str
    numbers: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.numbers}" if self.numbers else self.name


Finding = Iterator[tuple[Row, Flag]]


def find_flags(results: Results) -> dict[str, list[Flag]]:
    """Flag the rows of `results`. Rows of older versions are judged by the facts that they hold.

    Args:
        results: Rows of any victims. Only rows on the same victim and test set are compared with each other.

    Returns:
        The flags by the row's fingerprint, with an empty list for a row that is to be trusted.
    """
    flags = {row.fingerprint: row_flags(row) + _stored_flags(row) for row in results}
    for group in map(_Group, _comparable(results)):
        for check in CHECKS:
            for row, flag in check(group):
                flags[row.fingerprint].append(flag)
    return flags


def verdict(flags: Sequence[Flag]) -> str:
    """Return the names of the flags, or "trusted" where there are none."""
    return ", ".join(dict.fromkeys(flag.name for flag in flags)) or "trusted"


def row_flags(row: Row) -> list[Flag]:
    """Return the flags that a row has by itself, whatever else was run."""
    if row.error:
        return [Flag("failed", row.error)]
    return list(_theft_flags(row)) if row.attack else []


def _theft_flags(row: Row) -> Iterator[Flag]:
    n, explained, overlap = row.scores["n_test"], row.scores.get("explained"), row.scores.get("overlap", 0)
    if explained is not None and explained < EXPLAINED and not traits.noisy(row):
        yield Flag("not-converged", f"{explained:.1%}")
    if traits.holds_test_data(row):
        yield Flag("tuned-on-test")
    if overlap > OVERLAP * n:
        yield Flag("pool-overlaps-test", f"{overlap:,.0f}/{n:,.0f}")
    if (share := row.scores.get("leak", 0.0)) > OVERLAP:
        yield Flag("leak", f"{share:.1%}")
    rules = any(map(row.recipe["defense"].get, ("access", "rungs")))
    if rules and row.asked < ANSWERED * row.budget:
        yield Flag("refused", f"{row.asked:,}/{row.budget:,}")


def _stored_flags(row: Row) -> list[Flag]:
    """Return the flags stored in the row, by this version or another, that its facts do not raise again."""
    stored = (Flag(*text.split(": ", 1)) for text in row.flags)
    raised = {flag.name for flag in row_flags(row)}
    return [flag for flag in stored if flag.name not in raised]


def _comparable(results: Results) -> list[Results]:
    """Return the rows in groups, one for each victim and test set."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in results:
        groups.setdefault((row.victim, row.recipe["victim"], row.recipe["test"]["fingerprint"]), []).append(row)
    return [Results(rows) for rows in groups.values()]


class _Group:
    """The rows on one victim and test set, indexed for the checks: `cells[defense, budget][attack]`."""

    def __init__(self, results: Results) -> None:
        self.results, self.cells = results, dict[tuple[str, int], dict[str, list[Row]]]()
        for row in results:
            if row.attack and not row.error:
                cell = self.cells.setdefault((row.defense, row.budget), {})
                cell.setdefault(row.attack, []).append(row)

    def of(self, defense: str, budget: int) -> list[Row]:
        return [row for rows in self.cells[defense, budget].values() for row in rows]

    def undefended(self, budget: int) -> list[list[Row]]:
        """Return the cells without a defense at a budget."""
        at_budget = [rows for (_, b), cells in self.cells.items() if b == budget for rows in cells.values()]
        return [rows for rows in at_budget if traits.undefended(rows[0])]


def _labels_only_missing(group: _Group) -> Finding:
    for defense, budget in group.cells:
        rows = group.of(defense, budget)
        if lacks_labels_only(rows, group.results.utility(defense)):
            for row in rows:
                yield row, Flag("labels-only-missing")


def _averaging_missing(group: _Group) -> Finding:
    # Draws are keyed to the query: the same query again (`Averaged`) gets the same answer, so that only copies help.
    for defense, budget in group.cells:
        rows = group.of(defense, budget)
        if traits.draws(rows[0]) and not any(map(traits.averages_copies, rows)):
            for row in rows:
                yield row, Flag("averaging-missing")


def _above_undefended(group: _Group) -> Finding:
    for (_, budget), cells in group.cells.items():
        for rows in cells.values():
            if traits.undefended(rows[0]) or traits.upper_bound(rows[0]):
                continue
            bare = [cell for cell in group.undefended(budget) if _same_attack(cell[0], rows[0])]
            best = max(bare, key=share, default=None)
            if best is not None and share(rows) - share(best) > noise(rows, best):
                name = "defense-above-undefended" if traits.naive(rows[0]) else "lens-above-undefended"
                for row in rows:
                    yield row, Flag(name, _beside(rows, [best]))


def _same_attack(some: Row, other: Row) -> bool:
    return traits.without_lenses(some) == traits.without_lenses(other)


def _few_seeds(group: _Group) -> Finding:
    for cells in group.cells.values():
        for rows in cells.values():
            if len(rows) < SEEDS:
                for row in rows:
                    yield row, Flag("few-seeds", f"{len(rows)}")


def _within_noise(group: _Group) -> Finding:
    """Flag worst cases that differ by no more than chance explains: no claim can be built on which is better."""
    for budget in dict.fromkeys(budget for _, budget in group.cells):
        defenses = [defense for defense, at in group.cells if at == budget]
        attacked = [cells for defense in defenses if (cells := attackers(group.results, defense, budget))]
        worst = [max(cells.values(), key=share) for cells in attacked]
        for rows in worst:
            near = [cell for cell in worst if _differ(rows, cell) and _near(rows, cell)]
            if near and not traits.undefended(rows[0]):
                for row in rows:
                    yield row, Flag("within-noise", _beside(rows, near))


def _near(some: Sequence[Row], others: Sequence[Row]) -> bool:
    return abs(share(some) - share(others)) <= noise(some, others)


def _differ(some: Sequence[Row], others: Sequence[Row]) -> bool:
    """Return whether two cells differ at a seed that both have; the same labels make the same surrogate."""
    shares = {row.seed: row.scores["stealer_accuracy"] for row in others}
    return any(row.scores["stealer_accuracy"] != shares.get(row.seed) for row in some if row.seed in shares)


def _beside(rows: Sequence[Row], others: Sequence[Sequence[Row]]) -> str:
    compared = (f"{cell[0].defense} {100 * share(cell):.1f} ± {100 * noise(rows, cell):.1f}" for cell in others)
    return f"{100 * share(rows):.1f}; {', '.join(compared)}"


def _best_of_trainings(group: _Group) -> Finding:
    for defense, budget in group.cells:
        cells: Cells = attackers(group.results, defense, budget)
        if not cells:
            continue
        worst = max(cells.values(), key=share)
        method = traits.without_training(worst[0])
        alike = [cell for cell in cells.values() if traits.without_training(cell[0]) == method]
        if len(alike) > 1:
            for row in worst:
                yield row, Flag("tuned-on-test", f"{len(alike)}")


CHECKS: tuple[Callable[[_Group], Finding], ...] = (
    _labels_only_missing,
    _averaging_missing,
    _above_undefended,
    _few_seeds,
    _within_noise,
    _best_of_trainings,
)
