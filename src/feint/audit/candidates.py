"""Candidate defenses of an audit, and the lenses of attackers who know each defense."""

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
    "Rounding(decimals=1)": "rounding to 1 decimal",
    "APGP(top=1)": "APGP top-1",
    "ReverseSigmoid": "reverse sigmoid",
    "ModelGuardW": "ModelGuard-W",
}
TRIAL_INPUTS = 8  # on which a candidate is tried before the run
SHADOWS = 10  # of D-DAE: with 3 or 5 the outcome is chance (`feint.attacks.Recovered`)
FEW_SHADOWS = 2  # where they learn the answers, and are trained anew for each theft

LABELS: dict[str, tuple[Lens, ...]] = {"labels only": (HardLabels(),)}
SHARPENED: dict[str, tuple[Lens, ...]] = {"sharpened": (Sharpened(0.1),)}


@dataclass(frozen=True)
class Candidate:
    """Named defense of an audit.

    Attributes:
        name: Name in tables.
        source: What deploys the defense: a recipe, a TOML file or a directory.
        defense: The defense itself.
    """

    name: str
    source: str
    defense: Defense | Ladder


def load_candidates(
    sources: Sequence[str], victim: nn.Module, inputs: Split, folder: Path, progress: ProgressCallback
) -> dict[str, Candidate]:
    """Load the candidates by name, fit those that need it, and try each on a few inputs.

    Args:
        sources: Recipes, TOML files or directories; the short list where there is none.
        victim: Model to defend.
        inputs: Split to which an unfitted defense is fitted.
        folder: Directory in which fitted defenses are stored and from which they are loaded again.
        progress: Callback of the fits.

    Returns:
        The candidates in the order of `sources`. An error of a defense is raised with its source as context.
    """
    candidates = {}
    for source in sources or SHORT_LIST:
        name = NAMES.get(source, source) if not sources else source
        try:
            candidates[name] = _prepare(name, source, victim, inputs, folder, progress)
        except FeintError as error:
            raise error.with_context(f"--defense {source}") from error
    return candidates


def _prepare(
    name: str, source: str, victim: nn.Module, inputs: Split, folder: Path, progress: ProgressCallback
) -> Candidate:
    fingerprint = victims.fingerprint(victim)
    stored = folder / "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
    if stored.exists():
        return Candidate(name, str(stored), parse_defense([str(stored)], victim=fingerprint))
    defense = parse_defense([source], victim=fingerprint)
    try:
        _try_once(victim, defense, inputs)
    except NotFitted:
        if isinstance(defense, Ladder):
            raise
        defense = defense.fit(victim, inputs, progress=progress)
        _try_once(victim, defense, inputs)
        store.save(stored, defense, victim=fingerprint, inputs=repr(inputs))
        source = str(stored)
    return Candidate(name, source, defense)


def _try_once(victim: nn.Module, defense: Defense | Ladder, inputs: Split) -> None:
    without_rules = replace(defense, access=())
    Service(victim, without_rules)(Query(inputs.inputs(slice(0, TRIAL_INPUTS)), client="audit"))


def adaptive_lenses(
    defense: Defense | Ladder,
    pool: Split,
    surrogate: Network,
    training: Training,
    *,
    thorough: bool,
    copies: bool = True,
) -> dict[str, tuple[Lens, ...]]:
    """Return the lenses of attackers who know this defense.

    Args:
        defense: The defense.
        pool: Inputs of the attacker.
        surrogate: Network of the attacker.
        training: Its training.
        thorough: Whether a lens is added that trains models to undo the defense.
        copies: Whether lenses may query altered copies of inputs.

    Returns:
        The lenses by name, those that take the inputs of the pool.
    """
    steps = [*defense.outputs, *defense.inputs] if isinstance(defense, Defense) else []
    lenses: dict[str, tuple[Lens, ...]] = {}
    for step in steps:
        for name, text in getattr(step, "countermeasures", {}).items():
            lens = registry.parse(text, defense=step, noise=step)
            if isinstance(pool.domain, lens.domains) and (copies or not getattr(lens, "randomised", False)):
                lenses[name] = (lens,)
    if thorough and steps and not labels_only(defense):
        suspected = SuspectedDefense(unfitted(defense))
        short = replace(training, epochs=10, least_steps=0)
        recovered = Recovered(suspected, pool, surrogate, short, shadows=SHADOWS)
        lenses["recovered"] = (recovered if recovered.learns_the_pool else replace(recovered, shadows=FEW_SHADOWS),)
    return lenses


def unfitted(recipe: Any) -> Any:
    """Return the recipe without learned weights: what attackers know before they fit its parts themselves."""
    if isinstance(recipe, tuple):
        return tuple(map(unfitted, recipe))
    if not is_dataclass(recipe) or isinstance(recipe, type):
        return recipe
    parts = {field: getattr(recipe, field.name) for field in fields(recipe) if field.init}
    learned = {field.name for field, value in parts.items() if field.default is None and store.weights_of(value)}
    return replace(
        recipe, **{field.name: None if field.name in learned else unfitted(value) for field, value in parts.items()}
    )


def labels_only(defense: Defense | Ladder) -> bool:
    """Return whether the defense answers with labels alone, so that all lenses are equal."""
    return isinstance(defense, Defense) and any(getattr(step, "labels_only", False) for step in defense.outputs)
