"""Cells of a matrix: attacks through lenses, and their combinations with defenses, budgets and seeds."""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from feint.attacks import Attack, Lens
from feint.evaluation.results import Cell

Lenses = Mapping[str, Sequence[Lens]]


def through(
    attacks: Mapping[str, Attack], lenses: Lenses, combined: Mapping[str, Collection[str]] | None = None
) -> dict[str, Attack]:
    """Combine attacks with lenses.

    Args:
        attacks: Attacks by name.
        lenses: Lenses by name, the first nearest to the attack.
        combined: Names of the attacks of a lens, for the lenses that are not combined with all attacks.

    Returns:
        Every attack as it is, then through its lenses, under the name “attack, lens”.
    """
    lensed = {
        f"{name}, {lens}": attack.through(*steps)
        for name, attack in attacks.items()
        for lens, steps in lenses.items()
        if name in (combined or {}).get(lens, attacks)
    }
    return {**attacks, **lensed}


def lens_of(name: str) -> str:
    """Return the lens in a name of `through`, or the whole name of an attack without a lens."""
    return name.partition(", ")[2] or name


def cells(
    victim: str,
    attacks: Mapping[str, Iterable[str]],
    budgets: Sequence[int],
    seeds: Iterable[int],
    *,
    only: str = "",
    most_seeds: Mapping[str, int] | None = None,
    defense_budgets: Mapping[str, Sequence[int]] | None = None,
) -> list[Cell]:
    """List the cells of a victim.

    Args:
        victim: Name of the victim.
        attacks: Names of the attacks on each defense, by the defense's name.
        budgets: Queries of the attacks.
        seeds: Seeds of the attacks.
        only: Regular expression that selects cells (`Matrix`).
        most_seeds: Number of the first seeds that are run on single defenses, by the defense's name.
        defense_budgets: Budgets in place of `budgets` for single defenses, by the defense's name.

    Returns:
        The cells in the order in which they are run.
    """
    most, other = most_seeds or {}, defense_budgets or {}
    thefts = [
        Cell(defense, attack, budget, seed, victim)
        for i, seed in enumerate(seeds)
        for budget in dict.fromkeys([*budgets, *itertools.chain(*other.values())])
        for defense in attacks
        if budget in other.get(defense, budgets) and i < most.get(defense, i + 1)
        for attack in attacks[defense]
        if re.search(only, f"{victim}, {defense}, {attack}, {budget}")
    ]
    needed = {cell.defense for cell in thefts}
    chosen = [name for name in attacks if name in needed or re.search(only, f"{victim}, {name}")]
    return [Cell(name, victim=victim) for name in chosen] + thefts
