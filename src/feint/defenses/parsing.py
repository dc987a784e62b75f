"""Parsing of defenses as commands and suites name them: steps sorted into their rooms, or one whole defense."""

from collections.abc import Sequence
from typing import Any

from feint.defense import Defense, Ladder, Rule
from feint.defenses.inputs import Input
from feint.defenses.outputs import Output
from feint.errors import BadInput
from feint.recipes.registry import resolve

ROOMS: dict[str, Any] = {"access": Rule, "inputs": Input, "outputs": Output}


def parse_defense(places: Sequence[str], *, victim: str | None = None) -> Defense | Ladder:
    """Resolve a defense from the names, files or recipes of its steps.

    Args:
        places: Recipes, paths or package names of the steps, each applied in its room in this order; or one whole
            `Defense` or `Ladder`.
        victim: Fingerprint of the model that the defense is for.

    Returns:
        The defense.

    Raises:
        BadInput: if a recipe is no step of a defense.
    """
    recipes = [resolve(place, victim=victim) for place in places]
    if len(recipes) == 1 and isinstance(recipes[0], (Defense, Ladder)):
        return recipes[0]
    rooms: dict[str, list[Any]] = {room: [] for room in ROOMS}
    for recipe in recipes:
        room = next((room for room, kind in ROOMS.items() if isinstance(recipe, kind)), None)
        if room is None:
            raise BadInput(
                f"{recipe!r}",
                "an access rule, an input defense or an output defense, or one Defense or Ladder alone",
                "name one of these; a detector belongs into a Ladder",
            )
        rooms[room].append(recipe)
    return Defense(**rooms)
