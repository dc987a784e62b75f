"""Plan of a suite in words: its cells in groups, before anything runs."""

from collections.abc import Iterable, Sequence

from feint.bench.suite import Suite
from feint.evaluation.results import Cell


def lines(suite: Suite, cells: Sequence[Cell]) -> list[str]:
    """Describe the run: the attacks on each defense of each victim, the lenses left out, and the number of queries.

    Defenses with the same attacks are named together.

    Args:
        suite: The suite.
        cells: The cells that are to be run.

    Returns:
        Lines of text.
    """
    plan = [suite.title]
    for victim in dict.fromkeys(cell.victim for cell in cells):
        entry, here = suite.victims[victim], [cell for cell in cells if cell.victim == victim]
        plan += ["", f"{victim}: {entry.network} on {entry.data}"]
        for defenses, attacks in _grouped(here):
            plan += [f"  {' · '.join(defenses)}", f"    {' · '.join(attacks) or 'utility only'}"]
    plan += _left_out(suite, {cell.defense for cell in cells})
    thefts = [cell for cell in cells if cell.attack]
    budgets = ", ".join(f"{budget:,}" for budget in dict.fromkeys(cell.budget for cell in thefts))
    seeds = len({cell.seed for cell in thefts})
    plan += ["", f"{len(cells):,} cells: {len(cells) - len(thefts):,} utilities and {len(thefts):,} thefts"]
    plan += [f"{sum(cell.budget for cell in thefts):,} queries in all: budgets {budgets}; {_count(seeds, 'seed')}"]
    return plan


def _grouped(cells: Iterable[Cell]) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return the defenses with equal attacks, and these attacks."""
    attacks_on: dict[str, dict[str, None]] = {}
    for cell in cells:
        attacks_on.setdefault(cell.defense, {}).update({cell.attack: None} if cell.attack else {})
    groups: dict[tuple[str, ...], list[str]] = {}
    for defense, attacks in attacks_on.items():
        groups.setdefault(tuple(attacks), []).append(defense)
    return [(defenses, attacks) for attacks, defenses in groups.items()]


def _left_out(suite: Suite, defenses: set[str]) -> list[str]:
    """Return lines with the lenses that are incompatible with some defenses, and the reasons."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for defense in (name for name in suite.defenses if name in defenses):
        for lens, reason in suite.incompatible_lenses(defense).items():
            if suite.lenses[lens].only is None:
                reasons.setdefault((lens, reason), []).append(defense)
    listed = [f"  {lens}, not on {' · '.join(names)}: {reason}" for (lens, reason), names in reasons.items()]
    return ["", "Lenses that cannot be put before a defense:", *listed] if listed else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
