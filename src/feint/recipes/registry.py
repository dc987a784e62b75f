"""Every word that a recipe may be made of, and the places where recipes are found: text, a TOML file, a directory."""

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feint import attacks, data, defenses, victims
from feint.defense import Defense, Ladder, Rule
from feint.defenses.inputs import Input
from feint.defenses.outputs import Output
from feint.errors import BadInput, BadRecipe, DamagedFile
from feint.models import networks, training
from feint.recipes import store
from feint.recipes.recipe import PLUGINS, exported_recipes, from_table, joined
from feint.recipes.recipe import parse as parse_text
from feint.service import SuspectedDefense

ROOMS: dict[str, Any] = {"access": Rule, "inputs": Input, "outputs": Output}  # what stands where on the line


@functools.cache
def vocabulary(victim: str | None = None) -> Mapping[str, Any]:
    """Attacks, lenses, defenses, scores, and what they are made of. `Kept("DIR")` is the recipe in a directory.

    Methods of other packages follow (`feint.recipes.recipe.Plugins`). Raises `BadRecipe` where one takes a name of Feint's.
    """
    rooms = exported_recipes(
        attacks, defenses.access, defenses.boundary, defenses.inputs, defenses.outputs, defenses.scores
    )
    parts = [Defense, Ladder, SuspectedDefense, data.Split, networks.Network, training.Training, victims.Trained]
    known = rooms | {part.__name__: part for part in parts} | {"Kept": lambda folder: load(folder, victim=victim)}
    if taken := known.keys() & PLUGINS.keys():
        raise BadRecipe(f"a package's method called {min(taken)}", "a name that Feint does not use", "rename the class")
    return joined(known, PLUGINS)


def load(folder: str, *, victim: str | None = None) -> Any:
    """The recipe that a directory holds; with the fingerprint of a `victim`, only if it was fitted to that or to none.

    Raises `MissingData`, `DamagedFile` or `BadInput`.
    """
    stored = store.load(folder, vocabulary(victim))
    fitted = stored.about.get("victim")
    if victim is not None and fitted not in (None, victim):
        raise BadInput(
            f"{folder}, which was fitted to the victim {fitted}", f"a defense of {victim}", "fit it to this victim"
        )
    return stored.recipe


def parse(text: str, **given: object) -> Any:
    """The recipe that `text` spells as in Python. Raises `UnknownName` or `BadRecipe`."""
    return parse_text(text, vocabulary(), **given)


def resolve(place: str, *, victim: str | None = None, **given: object) -> Any:
    """The recipe in a directory, in a TOML file, or as `place` itself spells it; fields `given` fill its gaps."""
    path, known = Path(place), vocabulary(victim)
    if path.suffix == ".toml" and path.is_file():
        try:
            return from_table(tomllib.loads(path.read_text()), known, **given)
        except tomllib.TOMLDecodeError as error:
            raise DamagedFile(f"{path} ({error})", "a recipe in TOML, with its kind", "mend that line") from error
    spelled = not path.exists() and (place.endswith(")") or place in known)
    return parse_text(place, known, **given) if spelled else load(place, victim=victim)


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


def parse_pool(name: str) -> data.Split:
    """The inputs that a thief owns: the pool of a data set, or NAME/train. Raises `UnknownName` or `BadInput`."""
    name, _, part = name.partition("/")
    images = data.load(name)
    if part not in ("", "train", "pool"):
        raise BadInput(f"the part {part!r} of {name}", "NAME, NAME/train or NAME/pool", "a thief has no test set")
    return images.train if part == "train" else images.pool


def parse_split(name: str) -> data.Split:
    """The inputs that an owner names: the training part, unless it is NAME/PART or, of that, NAME/PART:I/OF."""
    name, _, part = name.partition("/")
    found = re.fullmatch(r"(train|pool|test)(?::(\d+)/(\d+))?", part or "train")
    if found is None:
        known = "NAME, NAME/train, NAME/pool or NAME/test, or a share of one like NAME/test:0/2"
        raise BadInput(f"the part {part!r} of {name}", known, "name one of these")
    split: data.Split = getattr(data.load(name), found[1])
    return split.share(int(found[2]), int(found[3])) if found[2] else split
