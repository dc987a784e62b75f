"""Refits: innocents of a model's own kind, where the model carries how it was trained."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.seeds import named_seed
from feint.ownership.controls import random_half
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes.recipe import fingerprint
from feint.victims import AdaptedModel, ModelFile, load_any, load_raw
from feint.victims.raw import Refittable, arrays_of

FILES = "refits"  # directory of the models' own files, beside what says how they are adapted


def can_refit(model: nn.Module) -> bool:
    """Return whether another model of this one's kind can be trained: scikit-learn's, or a file of boosted trees."""
    return isinstance(model, AdaptedModel) and isinstance(model.raw, Refittable)


def train_refits(
    out: Path, count: int, model: nn.Module, data: Split, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS
) -> Iterator[tuple[Path, nn.Module]]:
    """Train models of a model's own kind, those that a directory does not have yet.

    Each learns a random half of each class of the inputs: many kinds draw nothing when they are trained, and would be
    the model itself if they learned what the model learned.

    Args:
        out: Directory of controls.
        count: Number of models.
        model: The model, for which `can_refit` holds.
        data: Labelled inputs of the task.
        seed: Seed of all of them.
        progress: Progress callback.

    Yields:
        The file and the model of each control.

    Raises:
        BadRecipe: The model cannot be trained again, or is the same afterwards.
        BadInput: The inputs have other classes, or the directory holds a control of this number by another recipe.
    """
    assert isinstance(model, AdaptedModel)
    assert isinstance(model.raw, Refittable)
    for i in range(count):
        place, state = out / f"refit-{i:03}.toml", named_seed(f"refit {i}", seed) % 2**31  # which all libraries take
        evidence = f"made of {fingerprint([model.raw.digest, repr(model.adapter), data.fingerprint, state])}"
        if not place.is_file():
            half = random_half(data, state)
            file = out / FILES / f"{i:03}{model.raw.suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            arrays = arrays_of(model.encode(half.inputs()))
            model.raw.refit(arrays, _model_classes(model, half.labels), file, seed=state)
            if torch.equal(AdaptedModel(load_raw(file), model.adapter)(half.inputs()), model(half.inputs())):
                raise BadRecipe(f"{model.raw.place}, which is the same after a new training", "another", "train one")
            ModelFile(f"{file.relative_to(out)}", model.adapter, evidence=(evidence,)).write(place)
        elif ModelFile.read(place).evidence != (evidence,):
            raise BadInput(f"{place}, a control of other data or another recipe", "a new --out", "choose another")
        progress.step("refits", i + 1, count)
        yield place, load_any(place)


def _model_classes(model: AdaptedModel, labels: Tensor) -> np.ndarray:
    """Return labels (N,) of the data as numbers of the model's own classes. Raises `BadInput` for other classes."""
    outputs, names, count = model.adapter.outputs, model.raw.metadata.classes, len(model.adapter.classes)
    if int(labels.max()) >= count:
        raise BadInput(f"inputs of {int(labels.max()) + 1} classes", f"{count}, as the model has", "name other data")
    order = [names.index(label) for label in outputs.labels] if outputs.labels else outputs.order
    return torch.tensor(order or range(count))[labels].numpy()
