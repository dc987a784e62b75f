"""The defenses that an audit tries, and the lens that was made for each."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from feint import victims
from feint.attacks import HardLabels, Lens, Recovered, Sharpened
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses.parsing import parse_defense
from feint.errors import FeintError, NotFitted
from feint.models.networks import Network
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.query import Query
from feint.recipes import registry, store
from feint.service import Service, SuspectedDefense

NONE = "none"
SHORT_LIST = ("LabelOnly", "Rounding(decimals=1)", "APGP(top=1)", "ReverseSigmoid", "ModelGuardW")
NAMES = {
    "LabelOnly": "label only",
    "Rounding(decimals=1)": "rounding, 1 decimal",
    "APGP(top=1)": "APGP top-1",
    "ReverseSigmoid": "reverse sigmoid",
    "ModelGuardW": "ModelGuard-W",
}
AT_ONCE = 8  # inputs that a candidate is tried on before the run


@dataclass(frozen=True)
class Candidate:
    """A defense by name, and the place from where it is deployed: a recipe, a TOML file or a directory."""

    name: str
    place: str
    defense: Defense | Ladder


def candidates(
    places: Sequence[str], victim: nn.Module, inputs: Split, folder: Path, progress: ProgressCallback
) -> dict[str, Candidate]:
    """The defenses at `places`, by default those of the short list, by name; what learns and has not is fitted to
    `inputs` and kept in `folder`. Each is tried once. Raises what the defense itself does, with its name."""
    found = {}
    for place in places or SHORT_LIST:
        name = NAMES.get(place, place) if not places else place
        try:
            found[name] = _ready(name, place, victim, inputs, folder, progress)
        except FeintError as error:
            raise error.with_context(f"--defense {place}") from error
    return found


def _ready(
    name: str, place: str, victim: nn.Module, inputs: Split, folder: Path, progress: ProgressCallback
) -> Candidate:
    fingerprint = victims.fingerprint(victim)
    kept = folder / "".join(it if it.isalnum() else "-" for it in name.lower()).strip("-")
    if kept.exists():
        return Candidate(name, str(kept), parse_defense([str(kept)], victim=fingerprint))
    defense = parse_defense([place], victim=fingerprint)
    try:
        _tried(victim, defense, inputs)
    except NotFitted:
        if isinstance(defense, Ladder):
            raise
        defense = defense.fit(victim, inputs, progress=progress)
        _tried(victim, defense, inputs)
        store.save(kept, defense, victim=fingerprint, inputs=repr(inputs))
        place = str(kept)
    return Candidate(name, place, defense)


def _tried(victim: nn.Module, defense: Defense | Ladder, inputs: Split) -> None:
    open_to_all = replace(defense, access=())
    Service(victim, open_to_all)(Query(inputs.inputs(slice(0, AT_ONCE)), client="audit"))


def made_for(
    defense: Defense | Ladder, pool: Split, surrogate: Network, training: Training, *, thorough: bool
) -> dict[str, tuple[Lens, ...]]:
    """The lenses of attackers who know this defense; the thorough ones also train models to undo it."""
    steps = [*defense.outputs, *defense.inputs] if isinstance(defense, Defense) else []
    ways: dict[str, tuple[Lens, ...]] = {}
    for step in steps:
        for name, lens in getattr(step, "countermeasures", {}).items():
            ways[name] = (registry.parse(lens, defense=step),)
    if thorough and steps and not labels_only(defense):
        suspected = SuspectedDefense(unfitted(defense))
        ways["recovered"] = (Recovered(suspected, pool, surrogate, replace(training, epochs=10, least_steps=0)),)
    return ways


def unfitted(recipe: Any) -> Any:
    """A recipe without what it has learned: what an attacker knows before he fits its parts himself."""
    if isinstance(recipe, tuple):
        return tuple(map(unfitted, recipe))
    if not is_dataclass(recipe) or isinstance(recipe, type):
        return recipe
    parts = {field: getattr(recipe, field.name) for field in fields(recipe) if field.init}
    learned = {field.name for field, value in parts.items() if field.default is None and store.weights_of(value)}
    return replace(recipe, **{it.name: None if it.name in learned else unfitted(value) for it, value in parts.items()})


def labels_only(defense: Defense | Ladder) -> bool:
    """Whether this defense gives labels alone, so that every lens reads the same."""
    return isinstance(defense, Defense) and any(getattr(it, "labels_only", False) for it in defense.outputs)


LABELS: dict[str, tuple[Lens, ...]] = {"labels only": (HardLabels(),)}
SHARP: dict[str, tuple[Lens, ...]] = {"sharpened": (Sharpened(0.1),)}
