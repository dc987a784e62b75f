"""Training loop for victims and surrogates. It has inputs and targets, and no test set.

On a CPU with bfloat16 instructions, channels-last and bfloat16 autocast together train ResNet-20 three times as fast
as plain float32 (500 → 1,500 images/s on two cores); on a GPU the same two lines select its own formats.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from feint.data import Split, decode
from feint.errors import BadInput, BadRecipe, Diverged
from feint.models import self_supervised, stored
from feint.models.augmentation import augment, cutout, mixup, smoothed
from feint.models.batch import Batch
from feint.models.cache import cache_directory
from feint.models.checkpoint import TrainingState
from feint.models.cuda_graph import GraphedStep
from feint.models.networks import VOCABULARY, Classifier, Ensemble, Network
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.query import channels_last
from feint.recipes import store
from feint.recipes.recipe import short_hash
from feint.recipes.store import fingerprint


@dataclass(frozen=True)
class Training:
    """Recipe of a training in steps: a linear warm-up of the learning rate over a tenth of the steps, then a cosine.

    A network that scikit-learn fits takes nothing of it.

    Attributes:
        epochs: Passes over the data.
        least_steps: Least number of batches; it adds epochs, since few answers need many of them.
        batch_size: Rows in a batch, at least 2.
        learning_rate: Largest learning rate, above 0.
        momentum: Nesterov momentum of SGD; the other optimizer has none.
        weight_decay: Weight decay.
        crop: Pixels of padding for random crops, drawn anew for every batch.
        flip: Whether images are mirrored at random, drawn anew for every batch.
        holdout: Share of the data, below 1, that is not trained on. The weights after the epoch with the smallest loss
            on it are the result.
        patience: Number of epochs without a smaller loss on the holdout after which the training ends.
        bfloat16: Whether autocast is used where the hardware computes in bfloat16.
        rotation: Weight of S4L's loss beside the cross-entropy (`feint.models.self_supervised`), for few answers to
            square images; 1.0 is the published weight, None leaves it out.
        optimizer: "adamw", which embeddings and rows of a table need; None for SGD.
        cutout: Side in pixels of a square that is erased in each image, drawn anew for every batch; None for none.
        mixup: Parameter of the Beta distribution by which pairs of inputs and their targets are blended; None for none.
        smoothing: Share of each target that all classes receive alike, where all targets are labels; None for none.
        average: Share of the steps over which the weights are averaged. The averaged weights are the result; None for
            the last ones.
        explained: Share of what the targets tell (`feint.models.simplex.share_explained`) at which the training ends
            after an epoch, measured on up to 2,000 of them; None for no early end.

    Raises:
        BadRecipe: A number is outside its range, or there is `patience` without a `holdout`.
    """

    epochs: int = 30
    least_steps: int = 0
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop: int = 0
    flip: bool = False
    holdout: float = 0.0
    patience: int | None = None
    bfloat16: bool = True
    rotation: float | None = None
    optimizer: str | None = None
    cutout: int | None = None
    mixup: float | None = None
    smoothing: float | None = None
    average: float | None = None
    explained: float | None = None

    def __post_init__(self) -> None:
        for name, most in (
            ("rotation", math.inf), ("cutout", math.inf), ("mixup", math.inf),
            ("smoothing", 1), ("average", 1), ("explained", 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 < value < most:
                raise BadRecipe(f"{name}={value}", f"a number above 0 and below {most}, or None", "change it")
        if (
            min(self.epochs, self.least_steps) < 0
            or self.batch_size < 2
            or not 0 <= self.holdout < 1
            or self.learning_rate <= 0
        ):
            known = "epochs and least_steps ≥ 0, batch_size ≥ 2, learning_rate > 0, 0 ≤ holdout < 1"
            raise BadRecipe(repr(self), known, "change it")
        if self.optimizer not in (None, "adamw"):
            raise BadRecipe(f"optimizer={self.optimizer!r}", "'adamw', or None for SGD", "change it")
        if self.patience is not None and not self.holdout:
            raise BadRecipe("patience without a holdout", "a share of the data to judge by", "set holdout, say to 0.1")

    @property
    def augments(self) -> bool:
        """Whether images are shifted, mirrored, turned or erased in part."""
        return bool(self.crop or self.flip or self.rotation is not None or self.cutout)


MOST_EXPLAINED = 2000  # targets on which an early end is judged
Model = TypeVar("Model", Classifier, Ensemble, self_supervised.WithRotations)
_Fit = Callable[[Any, "_Task", ProgressCallback, Path | None], tuple[Any, list[float]]]
Loss = Callable[[Any, Batch], Tensor]  # (model, batch) -> the scalar to minimize


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of a batch, the default loss."""
    return F.cross_entropy(model(batch.x).float(), batch.targets)


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
    unlabelled: Split | None = None,
    seed: int = 0,
    progress: ProgressCallback = NO_PROGRESS,
) -> Classifier:
    """Train a new network on tensors. Same arguments, same weights. Weights that are not finite raise `Diverged`.

    Args:
        network: Recipe of the network.
        x: Inputs (N, …) of the network's domain, or as they are stored.
        targets: Classes (N,) or rows (N, K) on the simplex.
        training: Recipe of the training.
        unlabelled: Inputs whose rotations a training with `rotation` learns; those of `x` where it is None.
        seed: Seed of weights, order and augmentations.
        progress: Progress callback.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        BadInput: Inputs and targets do not belong together, or the network has no weights to train.
        BadRecipe: The training augments inputs that are no images, or those of an estimator of scikit-learn.
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
    model.preprocessing.adapt(x)
    name = repr((network, training, seed))
    if at_once:
        return _train_or_load(model, _Task(x, targets, training, seed), progress, name, fit=_fit_at_once)[0]
    if training.rotation is None:
        return _train_or_load(model, _Task(x, targets, training, seed), progress, name)[0]
    second = None
    if unlabelled is not None:
        second = torch.from_numpy(np.array(unlabelled.values)), torch.zeros(len(unlabelled))
    task = _Task(x, targets, training, seed, partial(self_supervised.s4l, weight=training.rotation), second)
    return _train_or_load(self_supervised.WithRotations(model, seed), task, progress, name)[0].model


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
        training: Recipe of the training, without holdout and rotation.
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
        BadRecipe: The training has a holdout, which is evaluated by cross-entropy, or a rotation loss; or it changes
            the targets, which another loss than the cross-entropy may not take.
    """
    check_targets(model.network, x, targets)
    if outliers is not None:
        check_targets(model.network, outliers[0], outliers[1])
    if training.holdout:
        raise BadRecipe("a holdout under a loss of its own", "holdout=0", "the epochs are judged by cross-entropy")
    if training.rotation is not None:
        raise BadRecipe("a rotation loss beside a loss of its own", "rotation=None", "leave it out")
    if loss is not cross_entropy and (training.mixup or training.smoothing):
        raise BadRecipe("mixup or smoothing with a loss of its own", "targets as they are", "leave them out")
    if not model.network.architecture.weights:
        raise BadInput(f"the network {model.network.name!r}", "one with a gradient", "train a new one")
    task = _Task(x, targets, training, seed, loss, outliers, recordable=False)
    start = stored.fingerprint(model)
    return _train_or_load(copy.deepcopy(model), task, progress, repr((name, start, model.network, training, seed)))


@dataclass(frozen=True)
class _Task:
    """Arguments on which a training depends, apart from the initial weights."""

    x: Tensor
    targets: Tensor
    training: Training
    seed: int
    loss: Loss = cross_entropy
    outliers: tuple[Tensor, Tensor] | None = None
    recordable: bool = True  # whether the loss only launches kernels, and never waits for a value of them

    def fingerprint(self) -> str:
        """Return a fingerprint of the data."""
        others = {} if self.outliers is None else {"outliers": self.outliers[0], "outlier_targets": self.outliers[1]}
        return fingerprint({"x": self.x, "targets": self.targets} | others)


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
    model: Model, task: _Task, progress: ProgressCallback, name: str, *, fit: _Fit | None = None
) -> tuple[Model, list[float]]:
    """Return `model` trained, and the losses of its epochs, from the cache of trainings where it has them."""
    directory, fit = cache_directory(), fit or _fit
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


def _fit_at_once(model: Any, task: _Task, progress: ProgressCallback, _: Path | None) -> tuple[Any, list[float]]:
    """Let scikit-learn fit the body of a classifier, in place."""
    model.eval()
    with torch.no_grad():
        features = model.preprocessing(decode(task.x, model.network.domain).to(model.device))
        model.body.fit(features, as_rows(task.targets, model.network.classes), seed=task.seed)
    progress.step("training", 1, 1)
    return model, []


def as_rows(targets: Tensor, classes: int) -> Tensor:
    """Return targets as rows (N, K) on the simplex: classes (N,) as one-hot rows."""
    return F.one_hot(targets, classes).float() if targets.ndim == 1 else targets


def _fit(model: Model, task: _Task, progress: ProgressCallback, checkpoint: Path | None) -> tuple[Model, list[float]]:
    """Train `model` in place, from the start or from the checkpoint."""
    recipe, x, targets = task.training, task.x, task.targets
    device, classes = next(model.parameters()).device, model.network.classes
    model.train()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(task.seed))
    cut = len(x) - round(len(x) * recipe.holdout)
    fitted, holdout = order[:cut], order[cut:]
    batches = _batch_count(len(fitted), recipe.batch_size)
    epochs = max(recipe.epochs, math.ceil(recipe.least_steps / batches))
    learned = targets if recipe.smoothing is None else smoothed(as_rows(targets, classes), recipe.smoothing)
    optimizer, average = _optimizer(model, recipe), _average(model, recipe, epochs * batches)
    judged = model if average is None else average.module
    state = TrainingState.resume(checkpoint, model, optimizer, average)
    # No cache of casts: a forward pass with gradients would otherwise use a cast that was made without them.
    half = torch.autocast(
        device.type, torch.bfloat16, enabled=recipe.bfloat16 and _has_bfloat16(device), cache_enabled=False
    )
    recorded = task.recordable and device.type == "cuda"

    def passes(*parts: Tensor) -> Tensor:
        """Return the loss of a batch; its gradients are at the parameters, in the same memory if recorded."""
        optimizer.zero_grad(set_to_none=not recorded)
        with half:
            loss = task.loss(model, Batch(*parts))
        loss.backward()
        return loss.detach()

    run = GraphedStep(passes, model) if recorded else passes
    with torch.random.fork_rng(devices=[]):
        while state.epoch < epochs and not state.ended(recipe.patience, recipe.explained):
            torch.manual_seed(task.seed * 100_003 + state.epoch)  # an epoch's random numbers depend on no earlier epoch
            losses: list[Tensor] = []
            steps = fitted[torch.randperm(len(fitted))].tensor_split(batches)
            for step, (rows, others) in enumerate(zip(steps, _outlier_rows(steps, task.outliers), strict=True)):
                done = (state.epoch + step / batches) / epochs
                for group in optimizer.param_groups:
                    group["lr"] = recipe.learning_rate * _schedule(done)
                parts = [
                    *_augmented((x, learned), rows, recipe, model.network, device),
                    *_augmented(task.outliers, others, recipe, model.network, device),
                ]
                losses.append(run(*parts))
                optimizer.step()
                if average is not None:
                    average.update_parameters(model)
            state.epoch += 1
            state.losses.append(torch.stack(losses).double().mean().item())
            if math.isnan(state.losses[-1]) or not all(weight.isfinite().all() for weight in model.parameters()):
                raise Diverged(
                    f"weights that are not finite after epoch {state.epoch} of the training",
                    f"a learning rate below {recipe.learning_rate:g} for this network", "lower it",
                )  # fmt: skip
            if len(holdout):
                state.update_best(judged, x[holdout], targets[holdout], model.network.domain)
            if recipe.explained is not None:
                some = fitted[:MOST_EXPLAINED]
                state.update_explained(judged, x[some], as_rows(targets[some], classes), model.network.domain)
            if checkpoint is not None:
                state.save(model, optimizer, checkpoint, average)
            progress.step("training", state.epoch, epochs)
    model.load_state_dict(judged.state_dict() if state.best is None else state.best)
    return model.eval(), state.losses


def _optimizer(model: nn.Module, recipe: Training) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    nesterov = recipe.momentum > 0
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=decay, nesterov=nesterov)


def _average(model: nn.Module, recipe: Training, steps: int) -> AveragedModel | None:
    """Return the moving average of the weights and of the statistics of batch normalisation, if there is one."""
    if recipe.average is None:
        return None
    decay = max(0.0, 1 - 1 / (recipe.average * steps))
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def _outlier_rows(steps: Sequence[Tensor], stream: tuple[Tensor, Tensor] | None) -> list[Tensor]:
    """Return as many rows of the second stream for each step, in random order; a shorter stream is repeated."""
    if stream is None:
        return [torch.empty(0, dtype=torch.long)] * len(steps)
    order, needed = torch.randperm(len(stream[0])), sum(map(len, steps))
    return list(order.repeat(math.ceil(needed / len(order)))[:needed].split([len(step) for step in steps]))


def _augmented(
    stream: tuple[Tensor, Tensor] | None, rows: Tensor, recipe: Training, network: Network, device: torch.device
) -> tuple[Tensor, Tensor] | tuple[()]:
    """Return these rows of a stream, augmented, and their targets; () where there is no stream."""
    if stream is None:
        return ()
    x, targets = stream
    batch, targets = decode(x[rows].to(device), network.domain), targets[rows].to(device)
    if recipe.crop or recipe.flip:
        batch = augment(batch, recipe.crop, recipe.flip)
    if recipe.cutout is not None:
        batch = cutout(batch, recipe.cutout)
    if recipe.mixup is not None:
        batch, targets = mixup(batch, as_rows(targets, network.classes), recipe.mixup)
    return channels_last(batch), targets


def _batch_count(rows: int, size: int) -> int:
    """Return the number of nearly equal batches, none of a single row, on which batch normalisation fails."""
    return max(1, min(math.ceil(rows / size), rows // 2))


def _schedule(done: float) -> float:
    """Return the factor on the learning rate after this share of the steps."""
    return min(done / 0.1, 1.0) * 0.5 * (1 + math.cos(math.pi * done)) if done else 0.01


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware computes in bfloat16; where it is emulated, autocast is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported()  # the name is private: this is its only use
