"""Training of victims and surrogates on inputs and targets. It has no test set."""

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feint.data import Split, decode
from feint.data.pools import parse_split
from feint.errors import BadInput, BadRecipe
from feint.models import second_head, stored
from feint.models.batch import Batch
from feint.models.cache import cache_directory
from feint.models.networks import VOCABULARY, Classifier, Network
from feint.models.pretraining import copy_body
from feint.models.second_head import WithSecondHead
from feint.models.seeds import named_seed
from feint.models.training_loop import Loss, Model, TrainingTask, as_rows, cross_entropy, fit
from feint.models.training_recipe import Pretrained, Training
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes import store
from feint.recipes.recipe import short_hash
from feint.signature import Pixels

__all__ = [
    "Batch", "Loss", "Pretrained", "Training", "check_targets", "cross_entropy", "learn", "pretrain", "refine", "train"
]  # fmt: skip
_Fit = Callable[[Any, TrainingTask, ProgressCallback, Path | None], tuple[Any, list[float]]]


def train(
    network: Network,
    data: Split,
    *,
    training: Training | None = None,
    targets: Tensor | None = None,
    seed: int = 0,
    progress: ProgressCallback = NO_PROGRESS,
) -> Classifier:
    """Train a new network on a split.

    Targets that do not belong to the data raise `BadInput`.

    Args:
        network: Recipe of the network.
        data: Inputs (N, …) and labels (N,).
        training: Recipe of the training; the default one if None.
        targets: Rows (N, K) on the simplex that replace the labels.
        seed: Seed of weights, order and augmentations. Same arguments, same weights on one machine.
        progress: Progress callback.

    Returns:
        The trained network, in evaluation mode.
    """
    x = torch.from_numpy(np.array(data.values))
    return learn(
        network, x, data.labels if targets is None else targets, training or Training(), seed=seed, progress=progress
    )


def learn(
    network: Network,
    x: Tensor,
    targets: Tensor,
    training: Training,
    *,
    pool: Split | None = None,
    seed: int = 0,
    progress: ProgressCallback = NO_PROGRESS,
) -> Classifier:
    """Train a new network on tensors. Same arguments, same weights. Weights that are not finite raise `Diverged`.

    Args:
        network: Recipe of the network.
        x: Inputs (N, …) of the network's domain, or as they are stored.
        targets: Classes (N,) or rows (N, K) on the simplex.
        training: Recipe of the training.
        pool: Inputs of the attacker, whose rotations a training with `rotation` learns, and whose own labels one with
            `auxiliary`. The rotations are those of `x` where it is None.
        seed: Seed of weights, order and augmentations.
        progress: Progress callback.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        BadInput: Inputs and targets do not belong together, or the network has no weights to train.
        BadRecipe: The training augments inputs that are no images, or those of an estimator of scikit-learn; it has a
            start for a network without hidden layers, or `auxiliary` without a pool.
    """
    check_targets(network, x, targets)
    model = network.build(seed)
    at_once = network.architecture.at_once
    if not (at_once or network.architecture.weights):
        raise BadInput(f"the network {network.name!r}", "one with weights to train", "PathFinding makes trees")
    if training.augments and not network.augmentable:
        raise BadRecipe(
            f"crop, flip or rotation for the network {network.name!r} and {network.domain.noun}",
            "images, and a network that is trained in steps", "leave them out",
        )  # fmt: skip
    if at_once and (training.start is not None or training.auxiliary is not None):
        raise BadRecipe(
            f"start or auxiliary for the network {network.name!r}", "a network that is trained in steps",
            "leave them out",
        )  # fmt: skip
    name = repr((network, training, seed))
    if training.start is None:
        model.preprocessing.adapt(x)
    else:
        copy_body(_source(network, training.start, progress), model)
        name += stored.fingerprint(model)
    task = TrainingTask(x, targets, training, seed)
    if at_once:
        return _train_or_load(model, task, progress, name, fit=_fit_at_once)[0]
    headed = _with_second_head(model, task, pool)
    if headed is None:
        return _train_or_load(model, task, progress, name)[0]
    return _train_or_load(*headed, progress, name)[0].model


def _with_second_head(
    model: Classifier, task: TrainingTask, pool: Split | None
) -> tuple[WithSecondHead, TrainingTask] | None:
    """Return the network with a second head, and the task with what it learns; None for a training without one."""
    training, second = task.training, None
    values = None if pool is None else torch.from_numpy(np.array(pool.values))
    if training.rotation is not None:
        second_head.require_square(model.network)
        second = None if values is None else (values, torch.zeros(len(values)))
        headed, loss, weight = WithSecondHead(model, second_head.TURNS, task.seed), second_head.s4l, training.rotation
    elif training.auxiliary is not None:
        if pool is None or values is None:
            raise BadRecipe("auxiliary without a pool", "inputs with labels of their own", "leave auxiliary out")
        second = values, pool.labels
        headed = WithSecondHead(model, int(pool.labels.max()) + 1, task.seed)
        loss, weight = second_head.own_labels, training.auxiliary
    else:
        return None
    return headed, replace(task, loss=partial(loss, weight=weight), outliers=second)


def _source(network: Network, start: Pretrained | stored.Trained, progress: ProgressCallback) -> Classifier:
    """Return the network that a training starts from."""
    return start.model if isinstance(start, stored.Trained) else pretrain(network, start, progress)


@functools.lru_cache(maxsize=1)  # a tuning starts from it several times, and not always with a cache of trainings
def pretrain(network: Network, start: Pretrained, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
    """Train a network, with other classes, on the data of a start.

    Args:
        network: Recipe of the network that will start from it.
        start: Data, recipe and seed.
        progress: Progress callback.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        BadInput: The data are of another domain.
    """
    data = parse_split(start.data)
    if isinstance(data.domain, Pixels) and isinstance(network.domain, Pixels):
        data = data.scaled(network.shape)
    if data.domain != network.domain:
        raise BadInput(
            f"a start on {start.data}, {data.domain.noun} {data.shape}", f"{network.domain.noun} {network.shape}",
            "name other data",
        )  # fmt: skip
    other = replace(network, classes=int(data.labels.max()) + 1)
    return train(other, data, training=start.training, seed=named_seed("pretraining", start.seed), progress=progress)


def refine(
    model: Model,
    x: Tensor,
    targets: Tensor,
    training: Training,
    *,
    loss: Loss,
    name: str,
    outliers: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
    progress: ProgressCallback = NO_PROGRESS,
) -> tuple[Model, list[float]]:
    """Train a copy of `model` with another loss. Inputs and targets that do not belong together raise `BadInput`.

    Args:
        model: Model whose weights are the start. It is not changed.
        x: Inputs (N, …) of the network's domain, or as they are stored.
        targets: Classes (N,) or rows (N, K) on the simplex.
        training: Recipe of the training, without holdout, rotation, auxiliary and start.
        loss: Function of a model and a batch to the scalar to minimize.
        name: Name of the loss with its parameters. An interrupted training continues where name, data, weights and seed
            are the same.
        outliers: Inputs and targets of a second stream. Each batch has as many rows of it.
        seed: Seed of order and augmentations.
        progress: Progress callback.

    Returns:
        The trained model, in evaluation mode, and the mean loss of each epoch.

    Raises:
        BadInput: The network has no gradient.
        BadRecipe: The training has a holdout, which is evaluated by cross-entropy, a second head, or a start; or it
            changes the targets, which another loss than the cross-entropy may not take.
    """
    check_targets(model.network, x, targets)
    if outliers is not None:
        check_targets(model.network, outliers[0], outliers[1])
    if training.holdout:
        raise BadRecipe("a holdout under a loss of its own", "holdout=0", "the epochs are judged by cross-entropy")
    for field in ("rotation", "auxiliary", "start"):
        if getattr(training, field) is not None:
            raise BadRecipe(f"{field} in a training of given weights by a loss of its own", "None", "leave it out")
    if loss is not cross_entropy and (training.mixup or training.smoothing):
        raise BadRecipe("mixup or smoothing with a loss of its own", "targets as they are", "leave them out")
    if not model.network.architecture.weights:
        raise BadInput(f"the network {model.network.name!r}", "one with a gradient", "train a new one")
    task = TrainingTask(x, targets, training, seed, loss, outliers, recordable=False)
    start = stored.fingerprint(model)
    return _train_or_load(copy.deepcopy(model), task, progress, repr((name, start, model.network, training, seed)))


def check_targets(network: Network, x: Tensor, targets: Tensor) -> None:
    """Raise `BadInput` unless each input has a target: a class of the network, or a row with all classes."""
    if (
        len(x) != len(targets)
        or not len(x)
        or (targets.ndim == 2 and targets.shape[1] != network.classes)
        or (targets.ndim == 1 and int(targets.max()) >= network.classes)
    ):
        raise BadInput(
            f"{len(x)} inputs of shape {tuple(x.shape[1:])} and targets of shape {tuple(targets.shape)}",
            f"as many targets as inputs, at least one, of {network.classes} classes",
            "check the pool and the surrogate's number of classes",
        )


def _train_or_load(
    model: Model, task: TrainingTask, progress: ProgressCallback, name: str, *, fit: _Fit = fit
) -> tuple[Model, list[float]]:
    """Return `model` trained, and the losses of its epochs, from the cache of trainings where it has them."""
    directory = cache_directory()
    if directory is None:
        return fit(model, task, progress, None)
    done = directory / f"{short_hash(name, 8)}-{task.fingerprint()}"
    if not done.exists():
        checkpoint = done.with_suffix(".pt")
        fitted, losses = fit(model, task, progress, checkpoint)
        store.save(done, model.network, fitted.state_dict(), losses=losses)
        checkpoint.unlink(missing_ok=True)
    cached = store.load(done, VOCABULARY)
    model.load_state_dict(cached.tensors)
    return model.eval(), cached.about.get("losses", [])


def _fit_at_once(model: Any, task: TrainingTask, progress: ProgressCallback, _: Path | None) -> tuple[Any, list[float]]:
    """Let scikit-learn fit the body of a classifier, in place."""
    model.eval()
    with torch.no_grad():
        features = model.preprocessing(decode(task.x, model.network.domain).to(model.device))
        model.body.fit(features, as_rows(task.targets, model.network.classes), seed=task.seed)
    progress.step("training", 1, 1)
    return model, []
