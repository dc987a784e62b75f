"""Training loop: batches, the optimizer, the average of the weights, and checkpoints after epochs.

On a CPU with bfloat16 instructions, channels-last and bfloat16 autocast together train ResNet-20 three times as fast
as plain float32 (500 → 1,500 images/s on two cores); on a GPU the same two lines select its own formats. ResNet-9 of
width 32, batches of 128 on one thread of an AMD EPYC with AVX-512 BF16: 155 images for a second of the processor as
plain float32, 197 with channels-last (three runs each: 152–160, 194–200), 405 with both (one run).
Fused SGD would save 2 % of a LeNet's step and 15 % of a small perceptron's (7.1 and 0.40 ms, batches of 64), and
nothing of a ResNet-9's: it is left out, since its weights differ in their last bits.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from feint.data import decode
from feint.errors import Diverged
from feint.models.augmentation import augment, cutout, mixup, smoothed
from feint.models.batch import Batch
from feint.models.checkpoint import TrainingState
from feint.models.cuda_graph import GraphedStep
from feint.models.networks import Classifier, Ensemble, Network
from feint.models.second_head import WithSecondHead
from feint.models.training_recipe import Training
from feint.progress import ProgressCallback
from feint.query import channels_last
from feint.recipes.store import fingerprint

MOST_EXPLAINED = 2000  # targets on which an early end is judged
BETWEEN_CHECKPOINTS = 0.25  # seconds; one takes 2 ms, as long as an epoch of a small surrogate
Model = TypeVar("Model", Classifier, Ensemble, WithSecondHead)
Loss = Callable[[Any, Batch], Tensor]  # (model, batch) -> the scalar to minimize


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Return the mean cross-entropy of a batch, the default loss."""
    return F.cross_entropy(model(batch.x).float(), batch.targets)


@dataclass(frozen=True)
class TrainingTask:
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


def as_rows(targets: Tensor, classes: int) -> Tensor:
    """Return targets as rows (N, K) on the simplex: classes (N,) as one-hot rows."""
    return F.one_hot(targets, classes).float() if targets.ndim == 1 else targets


def fit(
    model: Model, task: TrainingTask, progress: ProgressCallback, checkpoint: Path | None
) -> tuple[Model, list[float]]:
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
    saved = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        while state.epoch < epochs and not state.ended(recipe.patience, recipe.explained):
            _manual_seed(task.seed * 100_003 + state.epoch)  # an epoch's random numbers depend on no earlier epoch
            losses, started = list[Tensor](), time.perf_counter()
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
            progress.trained(len(fitted), time.perf_counter() - started)
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
            if checkpoint is not None and (now := time.monotonic()) - saved >= BETWEEN_CHECKPOINTS:
                state.save(model, optimizer, checkpoint, average)
                saved = now
            progress.step("training", state.epoch, epochs)
    model.load_state_dict(judged.state_dict() if state.best is None else state.best)
    return model.eval(), state.losses


def _manual_seed(seed: int) -> None:
    """Seed torch. Without a GPU `torch.manual_seed` formats the stack for a later one: 0.6 ms at a depth of 60."""
    if torch.cuda.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


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
