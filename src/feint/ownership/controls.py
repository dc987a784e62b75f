"""Controls: models of the same task that are innocent, by which a claim judges how often innocents agree."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from feint.attacks.surrogates import default_surrogates
from feint.data import Split
from feint.errors import BadInput, MissingData
from feint.models import stored
from feint.models.inference import answers
from feint.models.networks import Classifier, Network
from feint.models.training import Training, learn, train
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes.recipe import fingerprint, to_table
from feint.recipes.store import RECIPE
from feint.victims import load_any
from feint.victims.discovery import FILES

GROUPS = "other seed", "other architecture", "other half", "copy of another"


@dataclass(frozen=True)
class ControlPlan:
    """Recipe of one control.

    Attributes:
        group: "other seed", "other architecture", "other half", or "copy of another": a copy of the answers of another
            control, as an attacker makes it of somebody else's service.
        network: Its network.
        training: Its training.
        half: Half of the training inputs: 0 or 1, or None for all.
        source: Number of the control of which it is a copy; None for no copy.
        seed: Seed of weights and batches.
    """

    group: str
    network: Network
    training: Training
    half: int | None
    source: int | None
    seed: int


def plan_controls(count: int, domain_network: Network, training: Training | None = None) -> list[ControlPlan]:
    """Return the recipes of controls, the groups in turn.

    Args:
        count: Number of controls.
        domain_network: Network of the model whose innocents they are, or one for its domain and classes.
        training: Training of this network; by default that of an attacker who tries it.

    Returns:
        The recipes.
    """
    tried = default_surrogates(domain_network.domain, domain_network.classes)
    same = next((s.training for s in tried if s.network == domain_network), tried[-1].training)
    options = [(domain_network, training or same)]
    options += [(s.network, s.training) for s in tried if (s.network, s.training) not in options]
    plans = []
    for i in range(count):
        group, turn = GROUPS[i % len(GROUPS)], i // len(GROUPS)
        other = options[1 + turn % (len(options) - 1)] if len(options) > 1 else options[0]
        network, recipe = options[0] if group in ("other seed", "other half") else other
        half = turn % 2 if group == "other half" else None
        source = i - len(GROUPS) + 1 if group == "copy of another" else None  # the other seed of the same turn
        plans.append(ControlPlan(group, network, recipe, half, source, seed=1000 + i))
    return plans


def train_controls(
    out: Path, plans: Sequence[ControlPlan], data: Split, pool: Split, *, progress: ProgressCallback = NO_PROGRESS
) -> Iterator[tuple[Path, Classifier]]:
    """Train the controls that a directory does not have yet, each stored when it is done.

    Args:
        out: Directory of the controls.
        plans: Their recipes.
        data: Labelled inputs of the task on which they are trained.
        pool: Inputs about which a copy asks another control.
        progress: Progress callback.

    Yields:
        The directory and the model of each control.

    Raises:
        BadInput: The directory holds a control of this number by another recipe.
    """
    made: list[Classifier] = []
    for i, plan in enumerate(plans):
        place, made_of = out / f"{i:03}", fingerprint([to_table(plan), data.fingerprint, pool.fingerprint])
        if (place / RECIPE).is_file():
            if stored.notes(place).get("made_of") != made_of:
                raise BadInput(f"{place}, a control of other data or another recipe", "a new --out", "choose another")
            model = stored.load(place)
        else:
            model = _train(plan, data, pool, made)
            stored.save(place, model, group=plan.group, made_of=made_of, seed=plan.seed)
        made.append(model)
        progress.step("controls", i + 1, len(plans))
        yield place, model


def _train(plan: ControlPlan, data: Split, pool: Split, made: Sequence[Classifier]) -> Classifier:
    if plan.source is not None:
        p = answers(made[plan.source], pool)
        return learn(plan.network, pool.inputs(), p, plan.training, seed=plan.seed)
    inputs = data if plan.half is None else data.take(slice(plan.half, None, 2), part=f"{data.part}, half {plan.half}")
    return train(plan.network, inputs, training=plan.training, seed=plan.seed)


def load_controls(place: Path) -> dict[str, nn.Module]:
    """Load the models in a directory: those of `feint controls`, and any others that their owner put there.

    Args:
        place: Directory of models: directories and files of the kinds that `feint.victims.load_any` loads.

    Returns:
        The models by name.

    Raises:
        MissingData: There is none.
    """
    found = sorted(path for path in place.iterdir() if _is_model(path)) if place.is_dir() else []
    if not found:
        raise MissingData(f"{place} without a model", "a directory of models", "train some: feint controls")
    return {path.name: load_any(path) for path in found}


def _is_model(path: Path) -> bool:
    if path.is_dir():
        return (path / RECIPE).is_file() or (path / "config.json").is_file()
    return path.suffix in FILES or path.suffix == ".toml"
