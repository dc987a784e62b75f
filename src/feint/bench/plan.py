"""A suite in words: its cells, grouped, before anything runs."""

from collections.abc import Iterable, Sequence

from feint.bench.suite import Suite
from feint.evaluation.results import Cell


def lines(suite: Suite, cells: Sequence[Cell]) -> list[str]:
    """What will be run: the attacks on each defense of each victim, the lenses that are left out, and how many queries.

    Defenses that meet the same attacks are named together.
    """
    said = [suite.title]
    for victim in dict.fromkeys(it.victim for it in cells):
        entry, here = suite.victims[victim], [it for it in cells if it.victim == victim]
        said += ["", f"{victim}: {entry.network} on {entry.data}"]
        for defenses, attacks in _grouped(here):
            said += [f"  {' · '.join(defenses)}", f"    {' · '.join(attacks) or 'utility only'}"]
    said += _left_out(suite, {it.defense for it in cells})
    thefts = [it for it in cells if it.attack]
    budgets = ", ".join(f"{it:,}" for it in dict.fromkeys(it.budget for it in thefts))
    seeds = len({it.seed for it in thefts})
    said += ["", f"{len(cells):,} cells: {len(cells) - len(thefts):,} utilities and {len(thefts):,} thefts"]
    said += [f"{sum(it.budget for it in thefts):,} queries in all: budgets {budgets}; {_count(seeds, 'seed')}"]
    return said


def _grouped(cells: Iterable[Cell]) -> list[tuple[list[str], tuple[str, ...]]]:
    met: dict[str, dict[str, None]] = {}
    for cell in cells:
        met.setdefault(cell.defense, {}).update({cell.attack: None} if cell.attack else {})
    groups: dict[tuple[str, ...], list[str]] = {}
    for defense, attacks in met.items():
        groups.setdefault(tuple(attacks), []).append(defense)
    return [(defenses, attacks) for attacks, defenses in groups.items()]


def _left_out(suite: Suite, defenses: set[str]) -> list[str]:
    """The lenses that cannot be put before some defenses, and why."""
    why: dict[tuple[str, str], list[str]] = {}
    for defense in (it for it in suite.defenses if it in defenses):
        for lens, reason in suite.hindrances(defense).items():
            if suite.lenses[lens].only is None:
                why.setdefault((lens, reason), []).append(defense)
    found = [f"  {lens}, not on {' · '.join(them)}: {reason}" for (lens, reason), them in why.items()]
    return ["", "Lenses that cannot be put before a defense:", *found] if found else []


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
