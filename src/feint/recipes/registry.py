"""Every word that a recipe may be made of, and the places where recipes are found: text, a TOML file, a directory."""

import functools
import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from feint.errors import BadInput, BadRecipe, DamagedFile
from feint.recipes import store
from feint.recipes.recipe import PLUGINS, exported_recipes, from_table, joined
from feint.recipes.recipe import parse as parse_text

# By name, since the registry lies below everything that it lists; imported when a recipe is first read.
ROOMS = (
    "feint.attacks",
    "feint.defenses.access",
    "feint.defenses.boundary",
    "feint.defenses.inputs",
    "feint.defenses.outputs",
    "feint.defenses.scores",
)
PARTS = (
    "feint.data:Split",
    "feint.defense:Defense",
    "feint.defense:Ladder",
    "feint.models.networks:Network",
    "feint.models.stored:Trained",
    "feint.models.training:Training",
    "feint.service:SuspectedDefense",
)

ALIASES = {  # how older recipes and result rows spell a class that has another name now
    "Game": "LoopConfig",
    "Kept": "Loaded",
    "Rehearsal": "SuspectedDefense",
    "Through": "LensedAttack",
}


@functools.cache
def vocabulary(victim: str | None = None) -> Mapping[str, Any]:
    """Return everything that a recipe may be made of, by name.

    Attacks, lenses, defenses, scores and their parts, then the methods of other packages (`recipe.Plugins`).
    `Loaded("DIR")` is the recipe in a directory.

    Raises:
        BadRecipe: a package's method takes a name of Feint's.
    """
    pairs = [part.split(":") for part in PARTS]
    parts = {name: getattr(import_module(module), name) for module, name in pairs}
    rooms = exported_recipes(*map(import_module, ROOMS))
    known = rooms | parts | {"Loaded": lambda folder: load(folder, victim=victim)}
    known |= {old: known[new] for old, new in ALIASES.items()}
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
