"""Rows of one victim, and the facts that several tables and figures derive from them."""

import functools
from collections.abc import Collection, Iterable

import numpy as np

from feint.evaluation import traits
from feint.evaluation.checks import find_flags, verdict
from feint.evaluation.results import ResultRow, Results, Row
from feint.evaluation.robust import Robust, robust, thefts

FlaggedAttacks = dict[tuple[str, int], dict[str, list[str]]]  # by defense and budget: attacks and the flag's numbers


class Section:
    """The rows of one victim.

    Args:
        name: Name of the victim.
        rows: Rows of this victim.
    """

    def __init__(self, name: str, rows: Iterable[Row]) -> None:
        self.name, self.results = name, Results(sorted(rows, key=lambda row: not traits.undefended(row)))
        self.defenses, self.attacks = self.results.names("defense"), self.results.names("attack")
        scored = [row for row in self.results if row.attack and not row.error]
        self.budgets = sorted({row.budget for row in scored})
        self.flags = find_flags(self.results)
        self.robust = functools.cache(self._robust)

    @functools.cached_property
    def lines(self) -> list[ResultRow]:
        """The thefts, each averaged over its seeds."""
        return self.results.lines()

    @functools.cached_property
    def bare(self) -> str | None:
        """The name of the undefended victim's rows; None where they are missing."""
        return next((row.defense for row in self.results if traits.undefended(row)), None)

    @functools.cached_property
    def upper_bounds(self) -> set[str]:
        """The attacks whose lenses hold secrets of the owner."""
        return {row.attack for row in self.results if row.attack and traits.upper_bound(row)}

    @property
    def victim_accuracy(self) -> float | None:
        """The accuracy of the undefended victim; None where no utility was measured."""
        measured = (self.results.utility(defense) for defense in self.defenses)
        return next((scores["victim_accuracy"] for scores in measured if scores), None)

    def _robust(self, defense: str, budget: int | None = None) -> Robust | None:
        return robust(self.results, defense, budget)

    def naive(self, defense: str, budget: int) -> ResultRow | None:
        """Return the best of the attacks that take the answers as they are."""
        cells = thefts(self.results, defense, budget)
        attacks = {attack for attack, rows in cells.items() if traits.naive(rows[0])}
        lines = [line for line in self.lines if (line.defense, line.budget) == (defense, budget)]
        naive = [line for line in lines if line.attack in attacks]
        return max(naive, key=lambda line: line.scores["stealer_accuracy"], default=None)

    def largest(self, defense: str) -> int:
        """Return the largest budget of a defense's rows; 0 without rows."""
        return max((line.budget for line in self.lines if line.defense == defense), default=0)

    def verdict(self, defense: str) -> str:
        """Return the names of the flags at the defense's largest budget, or "trusted" where there are none."""
        largest = self.largest(defense)
        rows = [row for row in self.results if row.defense == defense and (row.budget == largest or not row.attack)]
        return verdict([flag for row in rows for flag in self.flags[row.fingerprint]])

    def copies(self, scores: Collection[str]) -> list[tuple[str, str, int, dict[str, float]]]:
        """Return defense, attack and budget, with the mean of each score, where some seed has one of `scores`."""
        groups: dict[tuple[str, str, int], list[Row]] = {}
        for row in self.results:
            if any(score in scores for score in row.scores):
                groups.setdefault((row.defense, row.attack, row.budget), []).append(row)
        return [(*key, _means(rows, scores)) for key, rows in groups.items()]

    def suspected(self) -> dict[str, FlaggedAttacks]:
        """Return the attacks that have each flag, without failed cells."""
        flagged: dict[str, FlaggedAttacks] = {}
        for row in sorted(self.results, key=lambda row: (self.defenses.index(row.defense), row.budget)):
            for flag in self.flags[row.fingerprint]:
                if not row.error:
                    attacks = flagged.setdefault(flag.name, {}).setdefault((row.defense, row.budget), {})
                    attacks.setdefault(row.attack, []).append(flag.numbers)
        return dict(sorted(flagged.items()))

    def pareto(self) -> set[str]:
        """Return the defenses that no other beats in defender accuracy and robust stealer accuracy at once."""
        places = self.places()
        return {
            name
            for name, (defended, stolen) in places.items()
            if not any(d >= defended and s <= stolen and (d, s) != (defended, stolen) for d, s in places.values())
        }

    def compared(self) -> int:
        """Return the budget at which defenses are compared: the largest that most of them have; 0 without rows."""
        asked = [budget for _, budget in {(line.defense, line.budget) for line in self.lines}]
        return max(asked, key=lambda budget: (asked.count(budget), budget), default=0)

    def places(self) -> dict[str, tuple[float, float]]:
        """Return defender accuracy and robust stealer accuracy at the compared budget, for defenses that have both."""
        budget, places = self.compared(), {}
        for name in self.defenses:
            worst, utility = self.robust(name, budget), self.results.utility(name)
            if worst is not None and utility:
                places[name] = utility["defender_accuracy"], worst.share
        return places


def sections(results: Results) -> list[Section]:
    """Return a section for each victim in `results`.

    Victims are separated by name, by test data, and by the fingerprint of their weights, which is added to the name
    where the name is not unique. Rows of two trainings of one victim are never averaged.
    """
    victims: dict[tuple[str, str], list[Row]] = {}
    for row in results:
        victims.setdefault((row.victim or row.recipe["test"]["name"], row.recipe["victim"]), []).append(row)
    names = [name for name, _ in victims]
    return [
        Section(name if names.count(name) == 1 else f"{name} {weights[:8]}", rows)
        for (name, weights), rows in victims.items()
    ]


def _means(rows: list[Row], scores: Iterable[str]) -> dict[str, float]:
    values = {name: [row.scores[name] for row in rows if name in row.scores] for name in scores}
    return {name: float(np.mean(several)) for name, several in values.items() if several}
