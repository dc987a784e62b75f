"""Registry of all recipes by name, and loaders from text, a TOML file or a directory."""

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

# By name, since the registry is below the packages that it lists; they are imported with the first recipe.
ROOMS = (
    "feint.attacks",
    "feint.defenses.access",
    "feint.defenses.boundary",
    "feint.defenses.feature_scores",
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
    "feint.models.training_recipe:Pretrained",
    "feint.models.training_recipe:Training",
    "feint.ownership.claim:Policy",
    "feint.ownership.removals:Distilled",
    "feint.ownership.removals:FineTuned",
    "feint.ownership.removals:GatedCopy",
    "feint.ownership.removals:Pruned",
    "feint.ownership.removals:Quantized",
    "feint.ownership.removals:WRK",
    "feint.ownership.removed:Removed",
    "feint.ownership.survival:ClaimTrial",
    "feint.service:SuspectedDefense",
    "feint.signature:Column",
    "feint.signature:Columns",
    "feint.signature:Pixels",
    "feint.signature:Text",
    "feint.signature:Tokens",
)

ALIASES = {  # names of classes in older recipes and result rows
    "Game": "LoopConfig",
    "Kept": "Loaded",
    "Rehearsal": "SuspectedDefense",
    "Through": "LensedAttack",
}


@functools.cache
def vocabulary(victim: str | None = None) -> Mapping[str, Any]:
    """Return the vocabulary of recipes: every class by its name.

    Attacks, lenses, defenses, scores and their parts, then the methods of other packages (`recipe.Plugins`).
    `Loaded("DIR")` is the recipe in a directory.

    Args:
        victim: Fingerprint of the victim that a `Loaded` recipe must have been fitted to, if to any.

    Returns:
        The vocabulary.

    Raises:
        BadRecipe: A package's method has a name of Feint's.
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
    """Load the recipe in a directory, or the network there as a `Trained`.

    A missing directory raises `MissingData`, a broken one `DamagedFile`.

    Args:
        folder: Directory that `store.save` wrote.
        victim: Fingerprint of the victim that the recipe must have been fitted to, if to any.

    Returns:
        The recipe, with its tensors.

    Raises:
        BadInput: The recipe was fitted to another victim.
    """
    known = vocabulary(victim)
    stored = store.load(folder, known)
    if isinstance(stored.recipe, known["Network"]):
        return known["Trained"](stored.recipe, store.Weights.of(stored.tensors))
    fitted = stored.about.get("victim")
    if victim is not None and fitted not in (None, victim):
        raise BadInput(
            f"{folder}, which was fitted to the victim {fitted}", f"a defense of {victim}", "fit it to this victim"
        )
    return stored.recipe


def parse(text: str, *, whole: tuple[type, ...] = (), **defaults: object) -> Any:
    """Build a recipe from its `repr`, as `recipe.parse` does. Raises `UnknownName` or `BadRecipe`."""
    return parse_text(text, vocabulary(), whole=whole, **defaults)


def resolve(place: str, *, victim: str | None = None, whole: tuple[type, ...] = (), **defaults: object) -> Any:
    """Load a recipe from a directory or a TOML file, or build it from text.

    Directories that a file names with `Loaded` begin at its own. Errors as in `parse` and `load`.

    Args:
        place: Directory, NAME.toml, or a recipe's `repr`.
        victim: Fingerprint of the victim that a stored recipe must have been fitted to, if to any.
        whole: Kinds of recipes that get all their fields also within another, as in `recipe.parse`.
        **defaults: Values of fields that the recipe leaves out, as in `recipe.parse`.

    Returns:
        The recipe.

    Raises:
        DamagedFile: The file is no TOML.
    """
    path, known = Path(place), vocabulary(victim)
    if path.suffix == ".toml" and path.is_file():
        beside = dict.fromkeys(("Loaded", "Kept"), lambda folder: load(f"{path.parent / folder}", victim=victim))
        try:
            return from_table(tomllib.loads(path.read_text()), {**known, **beside}, whole=whole, **defaults)
        except tomllib.TOMLDecodeError as error:
            raise DamagedFile(f"{path} ({error})", "a recipe in TOML, with its kind", "mend that line") from error
    spelled = not path.exists() and (place.endswith(")") or place in known)
    return parse_text(place, known, whole=whole, **defaults) if spelled else load(place, victim=victim)
