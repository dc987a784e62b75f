"""Controls: models of the same task that are innocent, by which a claim judges how often innocents agree."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from feint.attacks.surrogates import default_surrogates
from feint.data import Split
from feint.errors import BadInput, MissingData
from feint.models import stored
from feint.models.inference import answers
from feint.models.networks import Classifier, Network
from feint.models.seeds import named_seed
from feint.models.training import Training, learn, train
from feint.ownership.mark import Mark
from feint.ownership.selection import labels_of
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes.recipe import fingerprint, to_table
from feint.recipes.store import RECIPE, notes
from feint.signature import Domain
from feint.victims import classes_of, load_any
from feint.victims.discovery import FILES, states_domain

SMALL = 2  # convolutions of a network that is worth training beside any model
STEPS = 2000  # of a training on many inputs, whose recipe is meant for an attacker's few
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


def own_network(model: nn.Module, data: Split) -> Network:
    """Return the network of a model, or, where it is of another kind, the strongest that an attacker would try."""
    if isinstance(model, Classifier):
        return model.network
    return default_surrogates(data.domain, classes_of(model, data.domain))[-1].network


def plan_controls(
    count: int, network: Network, training: Training | None = None, *, role: str = "control", seed: int = 0
) -> list[ControlPlan]:
    """Return the recipes of controls, the groups in turn.

    Args:
        count: Number of controls.
        network: Network of the model whose innocents they are, or one for its domain and classes.
        training: Training of this network; by default that of an attacker who tries it.
        role: Name from which their seeds are derived, so that no victim, attacker or model of another role has them.
        seed: Seed of all of them.

    Returns:
        The recipes.
    """
    tried = [(each.network, each.training) for each in default_surrogates(network.domain, network.classes)]
    recipe = training or next((recipe for other, recipe in tried if other == network), tried[-1][1])
    most = max(_convolutions(network), SMALL)
    others = [each for each in tried if each[0] != network and _convolutions(each[0]) <= most] or [(network, recipe)]
    plans = []
    for i in range(count):
        group, turn = GROUPS[i % len(GROUPS)], i // len(GROUPS)
        chosen = (network, recipe) if group in ("other seed", "other half") else others[turn % len(others)]
        half = turn % 2 if group == "other half" else None
        source = i - len(GROUPS) + 1 if group == "copy of another" else None  # the other seed of the same turn
        plans.append(ControlPlan(group, *chosen, half, source, named_seed(f"{role} {i}", seed)))
    return plans


def _convolutions(network: Network) -> int:
    """Return the number of convolutions: a residual network takes hours where the model itself took a minute."""
    return sum(isinstance(layer, nn.Conv2d) for layer in network.build().modules())


def bounded(training: Training, inputs: int) -> Training:
    """Return a training of at most `STEPS` steps, in larger batches, where an attacker's would take more."""
    if math.ceil(inputs / training.batch_size) * training.epochs <= STEPS:
        return training
    size = max(training.batch_size, 128)
    return replace(training, batch_size=size, epochs=max(3, STEPS * size // inputs))


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
            if notes(place).get("made_of") != made_of:
                raise BadInput(f"{place}, a control of other data or another recipe", "a new --out", "choose another")
            model = stored.load(place)
        else:
            model = train_control(plan, data) if plan.source is None else _copy(plan, made[plan.source], pool)
            stored.save(place, model, group=plan.group, made_of=made_of, seed=plan.seed)
        made.append(model)
        progress.step("controls", i + 1, len(plans))
        yield place, model


def train_control(plan: ControlPlan, data: Split) -> Classifier:
    """Train a control on its share of the labelled inputs of the task."""
    inputs = data if plan.half is None else data.take(slice(plan.half, None, 2), part=f"{data.part}, half {plan.half}")
    inputs = learned_share(plan.network, inputs, plan.seed)
    return train(plan.network, inputs, training=bounded(plan.training, len(inputs)), seed=plan.seed)


def random_half(data: Split, seed: int) -> Split:
    """Return a random half of the inputs of each class."""
    random, labels = np.random.default_rng(seed), data.labels.numpy()
    groups = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    chosen = np.concatenate([group[: -(-len(group) // 2)] for group in groups])
    return data.take(np.sort(chosen), part=f"{data.part}, a half by seed {seed}")


def learned_share(network: Network, inputs: Split, seed: int) -> Split:
    """Return the inputs that a model of a network learns.

    Networks that are fitted at once draw nothing: of the same inputs all are one model, and perhaps the victim itself.
    Each learns a random half.
    """
    return random_half(inputs, seed) if network.architecture.at_once else inputs


def _copy(plan: ControlPlan, source: Classifier, pool: Split) -> Classifier:
    training = bounded(plan.training, len(pool))
    return learn(plan.network, pool.inputs(), answers(source, pool), training, seed=plan.seed)


def load_controls(place: Path, domain: Domain | None = None) -> dict[str, nn.Module]:
    """Load the models in a directory: those of `feint controls`, and any others that their owner put there.

    Args:
        place: Directory of models: directories and files of the kinds that `feint.victims.load_any` loads.
        domain: Domain of the inputs of those that leave it open.

    Returns:
        The models by name.

    Raises:
        MissingData: There is none, or one that `feint controls` numbered is no longer there.
        BadInput: Two are one model, which would count as two innocents.
    """
    places = sorted(path for path in place.iterdir() if _is_model(path)) if place.is_dir() else []
    if not places:
        raise MissingData(f"{place} without a model", "a directory of models", "train some: feint controls")
    emptied = next(
        (path for path in place.iterdir() if path.is_dir() and path.name.isdigit() and path not in places), None
    )
    if emptied is not None:
        raise MissingData(f"{emptied} without a model", "the control of that number", "train it again: feint controls")
    controls = {path.name: load_any(path, domain=None if states_domain(str(path)) else domain) for path in places}
    names = dict[str, str]()
    for name, control in controls.items():
        if (first := names.setdefault(stored.fingerprint(control), name)) != name:
            raise BadInput(
                f"{place} with {first} and {name}, which are one model", "different ones: each counts as an innocent",
                f"take {name} out",
            )  # fmt: skip
    return controls


def control_answers(
    controls: Mapping[str, nn.Module], marks: Sequence[Mark], *, progress: ProgressCallback = NO_PROGRESS
) -> dict[str, list[np.ndarray]]:
    """Return the labels (n,) that each control gives to the inputs of each mark.

    Args:
        controls: The controls by name.
        marks: The marks.
        progress: Progress callback.

    Returns:
        The labels by the control's name.

    Raises:
        BadInput: A control takes other inputs than a mark has, or has other classes.
    """
    known = {}
    for i, (name, control) in enumerate(controls.items()):
        try:
            known[name] = [_labels(control, mark) for mark in marks]
        except BadInput as error:
            got, expected, _ = error.args
            raise BadInput(f"the control {name}: {got}", expected, "take it out of --controls") from error
        progress.step("controls", i + 1, len(controls))
    return known


def _labels(control: nn.Module, mark: Mark) -> np.ndarray:
    if (classes := classes_of(control, mark.domain)) != mark.classes:
        raise BadInput(f"{classes} classes", f"{mark.classes}, as the marked model has", "choose another control")
    return labels_of(control, mark.x).numpy()


def _is_model(path: Path) -> bool:
    if path.is_dir():
        return (path / RECIPE).is_file() or (path / "config.json").is_file()
    return path.suffix in FILES or path.suffix == ".toml"
