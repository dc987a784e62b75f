"""Base of the boundary defenses: trainings that make a new model of an old one."""

import math
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadInput, BadRecipe, is_finite
from feint.fitting import FitContext
from feint.models.networks import Classifier
from feint.models.training import Batch, Loss, Training, check_targets, refine
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature.support import DomainSpecific
from feint.victims import fingerprint

FINE_TUNING = Training(epochs=10, learning_rate=0.01)


class Retrained(NamedTuple):
    """Retrained model and the record of its training.

    Attributes:
        model: The new model, in evaluation mode.
        record: Method, data, seed, loss of each epoch and seconds. Plain values only, so that the record can be stored
            as the notes of a victim.
    """

    model: Classifier
    record: dict[str, object]


class Boundary(DomainSpecific, ABC):
    """Boundary defense, `(model, data) -> model`. A method is a frozen dataclass that defines `retrain_from`.

    Attributes:
        cite: Key of the paper in docs/references.bib.
        training: Length and learning rate of the training.
        from_scratch: Whether to begin with new weights instead of the model's.
    """

    cite: ClassVar[str]
    training: Training
    from_scratch: bool

    def retrain(
        self,
        model: Classifier,
        inputs: Split,
        *,
        outliers: Split | None = None,
        seed: int = 0,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> Retrained:
        """Return a new model made of `model`, which stays as it was.

        `BadInput` is raised where the data do not belong to the model, or where outliers are required and missing.

        Args:
            model: The model to defend.
            inputs: The inputs that the model was trained on, with labels.
            outliers: Other inputs of the same shape, whose labels are not used.
            seed: Same arguments and seed, same weights.
            progress: Progress callback, and the directory for checkpoints.

        Returns:
            The new model and the record of its training.
        """
        return self.retrain_from(FitContext(model, inputs, outliers, seed, progress))

    @abstractmethod
    def retrain_from(self, context: FitContext) -> Retrained:
        """Return a new model made of the victim in `context`. See `retrain`."""


def train_model(
    recipe: Boundary,
    context: FitContext,
    loss: Loss,
    *,
    outliers: Split | None = None,
    outlier_targets: Tensor | None = None,
    extra_classes: int = 0,
) -> Retrained:
    """Train a new model that lowers `loss` on inputs and outliers: the training loop of all boundary defenses.

    Args:
        recipe: The method.
        context: The model to start from, and its data.
        loss: Loss of a batch.
        outliers: Inputs of another task, half of each batch.
        outlier_targets: Target of each outlier, (N,); zeros where there are none.
        extra_classes: Classes that the network has during training, and not in the result.

    Returns:
        The new model and the record of its training.

    Raises:
        BadInput: if the model is no network that a training can change, or the method does not take its domain.
        BadRecipe: if the loss is no longer finite. The diverged model is not returned.
    """
    model, inputs, seed = context.victim, context.inputs, context.seed
    if not isinstance(model, Classifier):
        raise BadInput(
            f"a victim of type {type(model).__name__}", "a network of Feint's, which can be trained",
            "use an output defense instead",
        )  # fmt: skip
    recipe.require_domain(inputs.domain)
    classes = model.network.classes
    check_targets(model.network, inputs.labels, inputs.labels)
    start = model.network.build(seed) if recipe.from_scratch else model
    start = with_classes(start, classes + extra_classes, seed) if extra_classes else start
    beside = None
    if outliers is not None:
        beside = stored(outliers), torch.zeros(len(outliers)) if outlier_targets is None else outlier_targets
    began = time.perf_counter()
    new, losses = refine(
        start, stored(inputs), inputs.labels, recipe.training,
        loss=loss, name=repr((recipe, fingerprint(model))), outliers=beside, seed=seed, progress=context.progress,
    )  # fmt: skip
    if not all(map(math.isfinite, losses)):
        raise BadRecipe(f"losses {losses}", "finite ones", "lower the learning rate or the weight of the method's term")
    record: dict[str, object] = {
        "method": repr(recipe), "retrained": fingerprint(model), "inputs": repr(inputs),
        "outliers": None if outliers is None else repr(outliers), "seed": seed,
        "losses": losses, "seconds": time.perf_counter() - began,
    }  # fmt: skip
    return Retrained(with_classes(new, classes, seed) if extra_classes else new, record)


def with_classes(model: Classifier, classes: int, seed: int) -> Classifier:
    """Return `model` with this number of classes: the first keep their weights, added ones start from new weights."""
    new = replace(model.network, classes=classes).build(seed)
    for name, tensor in new.state_dict().items():
        old = model.state_dict()[name]
        if old.shape == tensor.shape:
            tensor.copy_(old)
        else:  # a row for each class
            tensor[: len(old)].copy_(old[: len(tensor)])
    return new.train(model.training)


def require_outliers(outliers: Split | None, inputs: Split) -> Split:
    """Return the outliers; raise `BadInput` where there are none, or they are not of the domain of the inputs."""
    if outliers is None or not len(outliers) or outliers.shape != inputs.shape:
        raise BadInput(
            "no outliers" if outliers is None or not len(outliers) else f"outliers of shape {outliers.shape}",
            f"inputs {inputs.shape} from outside the victim's task",
            "give a data set of another task as outliers: retrain(…, outliers=…), or feint fit --outliers NAME",
        )
    if outliers.domain != inputs.domain:  # another table may have the categories of this one
        inputs.domain.check(outliers.inputs().numpy())
    return outliers


def joint_logits(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the logits of inputs and outliers in one batch, so that batch normalisation cannot tell them apart."""
    assert batch.outliers is not None  # `require_outliers` checked it
    inside, outside = model(torch.cat([batch.x, batch.outliers])).float().split([len(batch.x), len(batch.outliers)])
    return inside, outside


def stored(split: Split) -> Tensor:
    """Return all inputs (N, …) of a split as they are stored, which the training loop takes."""
    return torch.from_numpy(np.array(split.values))


def check_at_least(recipe: Boundary, least: float, *values: float) -> None:
    """Raise `BadRecipe` where one of the values is no finite number, or smaller than `least`."""
    if not all(is_finite(value) and value >= least for value in values):
        raise BadRecipe(repr(recipe), f"finite values of at least {least:g}", "change them")
