"""What the rows on one victim say, computed once for all tables and figures."""

import functools
from collections.abc import Iterable

import numpy as np

from feint.evaluation import traits
from feint.evaluation.checks import find_flags, verdict
from feint.evaluation.metrics import group
from feint.evaluation.results import ResultRow, Results, Row
from feint.evaluation.robust import Robust, robust, thefts

SPRINGBOARD = [known.name for known in group("springboard")]

FlaggedFigure = dict[tuple[str, int], dict[str, list[str]]]  # the attacks on a defense at a budget, and their numbers


class Section:
    """The rows on one victim, under its name."""

    def __init__(self, name: str, rows: Iterable[Row]) -> None:
        self.name, self.results = name, Results(sorted(rows, key=lambda row: not traits.undefended(row)))
        self.defenses, self.attacks = self.results.names("defense"), self.results.names("attack")
        scored = [row for row in self.results if row.attack and not row.error]
        self.budgets = sorted({row.budget for row in scored})
        self.flags = find_flags(self.results)
        self.robust = functools.cache(self._robust)

    @functools.cached_property
    def lines(self) -> list[ResultRow]:
        return self.results.lines()

    @functools.cached_property
    def bare(self) -> str | None:
        """The name of no defense, where it was run."""
        return next((row.defense for row in self.results if traits.undefended(row)), None)

    @functools.cached_property
    def upper_bounds(self) -> set[str]:
        """The attacks through lenses that hold what no attacker has."""
        return {row.attack for row in self.results if row.attack and traits.upper_bound(row)}

    @property
    def victim_accuracy(self) -> float | None:
        return next((it["victim_accuracy"] for it in map(self.results.utility, self.defenses) if it), None)

    def _robust(self, defense: str, budget: int | None = None) -> Robust | None:
        return robust(self.results, defense, budget)

    def naive(self, defense: str, budget: int) -> ResultRow | None:
        """The best of the attacks that believe the answers as they are."""
        cells = thefts(self.results, defense, budget)
        believers = {attack for attack, rows in cells.items() if traits.naive(rows[0])}
        lines = [it for it in self.lines if (it.defense, it.budget) == (defense, budget) and it.attack in believers]
        return max(lines, key=lambda it: it.scores["stealer_accuracy"], default=None)

    def largest(self, defense: str) -> int:
        """The largest budget that a defense has rows at."""
        return max((it.budget for it in self.lines if it.defense == defense), default=0)

    def verdict(self, defense: str) -> str:
        """The flags of all rows at the defense's largest budget, by name; "trusted" without any."""
        largest = self.largest(defense)
        rows = [it for it in self.results if it.defense == defense and (it.budget == largest or not it.attack)]
        return verdict([flag for row in rows for flag in self.flags[row.fingerprint]])

    def springboard(self) -> list[tuple[str, str, int, dict[str, float]]]:
        """Defense, attack and budget, and the mean of each score that some seed has."""
        found: dict[tuple[str, str, int], list[Row]] = {}
        for row in self.results:
            if any(score in row.scores for score in SPRINGBOARD):
                found.setdefault((row.defense, row.attack, row.budget), []).append(row)
        return [(*key, _means(rows)) for key, rows in found.items()]

    def suspected(self) -> dict[str, FlaggedFigure]:
        """What each flag is raised on, failures apart."""
        found: dict[str, FlaggedFigure] = {}
        for row in sorted(self.results, key=lambda row: (self.defenses.index(row.defense), row.budget)):
            for flag in self.flags[row.fingerprint]:
                if not row.error:
                    attacks = found.setdefault(flag.name, {}).setdefault((row.defense, row.budget), {})
                    attacks.setdefault(row.attack, []).append(flag.numbers)
        return dict(sorted(found.items()))

    def pareto(self) -> set[str]:
        """The defenses that no other beats in defender accuracy and robust stealer accuracy at once."""
        places = self.places()
        return {
            name
            for name, (kept, stolen) in places.items()
            if not any(k >= kept and s <= stolen and (k, s) != (kept, stolen) for k, s in places.values())
        }

    def places(self) -> dict[str, tuple[float, float]]:
        """Defender accuracy and robust stealer accuracy at the largest budget of all, where both are known."""
        largest, places = max(self.budgets, default=0), {}
        for name in self.defenses:
            worst, utility = self.robust(name, largest), self.results.utility(name)
            if worst is not None and utility:
                places[name] = utility["defender_accuracy"], worst.share
        return places


def sections(results: Results) -> list[Section]:
    """The rows apart by their victim: by its name, the data that it is judged on, and, where that is not enough, the
    fingerprint of its weights. Rows of two trainings of one victim are never averaged."""
    kept: dict[tuple[str, str], list[Row]] = {}
    for row in results:
        kept.setdefault((row.victim or row.recipe["test"]["name"], row.recipe["victim"]), []).append(row)
    names = [name for name, _ in kept]
    return [
        Section(name if names.count(name) == 1 else f"{name} {weights[:8]}", rows)
        for (name, weights), rows in kept.items()
    ]


def _means(rows: list[Row]) -> dict[str, float]:
    scores = {name: [row.scores[name] for row in rows if name in row.scores] for name in SPRINGBOARD}
    return {name: float(np.mean(values)) for name, values in scores.items() if values}
