"""Defenses as commands and suites name them: each step by its place, or one whole defense or ladder."""

from collections.abc import Sequence
from typing import Any

from feint.defense import Defense, Ladder, Rule
from feint.defenses.inputs import Input
from feint.defenses.outputs import Output
from feint.errors import BadInput
from feint.recipes.registry import resolve

ROOMS: dict[str, Any] = {
    "access": Rule,
    "inputs": Input,
    "outputs": Output,
}  # the steps of the line


def parse_defense(places: Sequence[str], *, victim: str | None = None) -> Defense | Ladder:
    """The defenses in these places, each in its room on the line in the order given; or one whole ladder.

    `victim` is the fingerprint of the model that they will stand before.
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
