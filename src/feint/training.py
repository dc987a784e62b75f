"""One training loop, for victims and surrogates. It sees inputs and targets, and no test set.

On a CPU with bfloat16 instructions, channels-last and bfloat16 autocast together train ResNet-20 three times as fast
as plain float32 (500 → 1,500 images/s on two cores); on a GPU the same two lines choose its own formats.
"""

import copy
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint import victims
from feint.data import Split, decode
from feint.errors import BadInput, BadRecipe, DamagedFile
from feint.networks import Classifier, Network
from feint.store import fingerprint, under, written
from feint.watch import SILENT, Watch


@dataclass(frozen=True)
class Training:
    """How to train: SGD with Nesterov momentum, a linear warm-up over a tenth of the steps, then a cosine to zero.

    `epochs` over the data, or more until `least_steps` batches were seen: few answers need many epochs to be learned.
    `crop` pixels of padding for random crops and `flip` for mirroring are drawn anew for every batch. `holdout` is the
    share of the given data that is not trained on: the weights of the epoch with the least loss there are kept, and
    with `patience` the training ends after so many epochs without a smaller one.
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

    def __post_init__(self) -> None:
        if (
            min(self.epochs, self.least_steps) < 0
            or self.batch_size < 2
            or not 0 <= self.holdout < 1
            or self.learning_rate <= 0
        ):
            known = "epochs and least_steps ≥ 0, batch_size ≥ 2, learning_rate > 0, 0 ≤ holdout < 1"
            raise BadRecipe(repr(self), known, "change it")
        if self.patience is not None and not self.holdout:
            raise BadRecipe("patience without a holdout", "a share of the data to judge by", "set holdout, say to 0.1")


def train(
    network: Network,
    data: Split,
    *,
    training: Training | None = None,
    targets: Tensor | None = None,
    seed: int = 0,
    watch: Watch = SILENT,
) -> Classifier:
    """A new `network` trained on `data`, to its labels or to `targets` (N, K) on the simplex; in evaluation mode."""
    x = torch.from_numpy(np.array(data.images))
    return learn(
        network, x, data.labels if targets is None else targets, training or Training(), seed=seed, watch=watch
    )


def learn(
    network: Network, x: Tensor, targets: Tensor, training: Training, *, seed: int = 0, watch: Watch = SILENT
) -> Classifier:
    """A new `network` trained on inputs `x` (N, C, H, W), uint8 or float32 in [0, 1]; same arguments, same weights.

    `targets` are classes (N,) or rows (N, K) on the simplex. Raises `BadInput` where they do not belong together.
    """
    if len(x) != len(targets) or not len(x) or (targets.ndim == 2 and targets.shape[1] != network.classes):
        raise BadInput(
            f"{len(x)} inputs of shape {tuple(x.shape[1:])} and targets of shape {tuple(targets.shape)}",
            f"as many targets as inputs, at least one, of {network.classes} classes",
            "check the pool and the surrogate's number of classes",
        )
    if watch.folder is None:
        return _fit(network.build(seed), x, targets, training, seed, watch, None)
    recipe = hashlib.sha256(repr((network, training, seed)).encode()).hexdigest()[:8]
    done = watch.folder / f"{recipe}-{fingerprint({'x': x, 'targets': targets})}"
    if not done.exists():
        checkpoint = done.with_suffix(".safetensors")
        victims.save(done, _fit(network.build(seed), x, targets, training, seed, watch, checkpoint))
        checkpoint.unlink(missing_ok=True)
    return victims.load(done)


def _fit(
    model: Classifier, x: Tensor, targets: Tensor, recipe: Training, seed: int, watch: Watch, checkpoint: Path | None
) -> Classifier:
    """Train `model` in place, from the start or from the checkpoint."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    cut = len(x) - round(len(x) * recipe.holdout)
    own, held = order[:cut], order[cut:]
    batches = _batches(len(own), recipe.batch_size)
    epochs = max(recipe.epochs, math.ceil(recipe.least_steps / batches))
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    progress = _Progress.resume(checkpoint, model, optimizer)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16 and _has_bfloat16(device))
    with torch.random.fork_rng(devices=[]):
        while progress.epoch < epochs and not progress.patience_ended(recipe.patience):
            torch.manual_seed(seed * 100_003 + progress.epoch)  # an epoch's chances depend on nothing before it
            for step, rows in enumerate(own[torch.randperm(len(own))].tensor_split(batches)):
                done = (progress.epoch + step / batches) / epochs
                for group in optimizer.param_groups:
                    group["lr"] = recipe.learning_rate * _schedule(done)
                batch = augment(decode(x[rows]), recipe.crop, recipe.flip)
                with autocast:
                    logits = model(batch.to(device, memory_format=torch.channels_last))
                loss = F.cross_entropy(logits.float(), targets[rows].to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            progress.epoch += 1
            if len(held):
                progress.judge(model, x[held], targets[held])
            if checkpoint is not None:
                progress.keep(model, optimizer, checkpoint)
            watch.step("training", progress.epoch, epochs)
    if progress.best is not None:
        model.load_state_dict(progress.best)
    return model.cpu().eval()


def augment(x: Tensor, crop: int, flip: bool) -> Tensor:
    """Each image shifted by up to `crop` pixels (black comes in) and, with `flip`, mirrored half of the time."""
    n, _, height, width = x.shape
    if flip:
        mirrored = torch.rand(n) < 0.5
        x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    if crop:
        x = F.pad(x, [crop] * 4)
        shift = torch.randint(0, 2 * crop + 1, (2, n, 1))
        rows, columns = shift[0] + torch.arange(height), shift[1] + torch.arange(width)
        x = x[torch.arange(n).view(-1, 1, 1), :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    return x


def _batches(rows: int, size: int) -> int:
    """Into how many nearly equal batches the rows go: none of a single row, which batch normalisation cannot take."""
    return max(1, min(math.ceil(rows / size), rows // 2))


def _schedule(done: float) -> float:
    """The factor on the learning rate when this share of the steps is done."""
    return min(done / 0.1, 1.0) * 0.5 * (1 + math.cos(math.pi * done)) if done else 0.01


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16; where it only emulates it, autocast is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported()  # the one place that asks: the name is private


class _Progress:
    """How far a training is, and the best weights on the holdout so far."""

    def __init__(self) -> None:
        self.epoch, self.least, self.waited = 0, math.inf, 0
        self.best: dict[str, Tensor] | None = None

    def patience_ended(self, patience: int | None) -> bool:
        """Whether the last `patience` epochs brought no smaller loss on the holdout."""
        return patience is not None and self.waited >= patience

    def judge(self, model: nn.Module, x: Tensor, targets: Tensor) -> None:
        """Compare the loss on the holdout `x` with that of the best epoch."""
        model.eval()
        device = next(model.parameters()).device
        with torch.no_grad():
            losses = [
                F.cross_entropy(model(decode(a).to(device)).float(), b.to(device), reduction="sum").item()
                for a, b in zip(x.split(500), targets.split(500), strict=True)
            ]
        model.train()
        if sum(losses) < self.least:
            self.least, self.waited, self.best = sum(losses), 0, copy.deepcopy(model.state_dict())
        else:
            self.waited += 1

    def keep(self, model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> None:
        """Write everything that the next epoch needs to `path`."""
        tensors = {f"model.{name}": it for name, it in model.state_dict().items()}
        momenta = (optimizer.state[it].get("momentum_buffer") for it in model.parameters())
        tensors |= {f"momentum.{i}": it for i, it in enumerate(momenta) if it is not None}
        tensors |= {f"best.{name}": it for name, it in (self.best or {}).items()}
        tensors["progress"] = torch.tensor([self.epoch, self.least, self.waited], dtype=torch.float64)
        with written(path) as partial:
            safetensors.torch.save_file({name: it.contiguous() for name, it in tensors.items()}, partial)

    @classmethod
    def resume(cls, path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer) -> "_Progress":
        """The progress kept at `path`, model and optimizer brought to it; a new one where there is none."""
        progress = cls()
        if path is None or not path.exists():
            return progress
        try:
            tensors = safetensors.torch.load_file(path)
            epoch, progress.least, waited = tensors["progress"].tolist()
            progress.epoch, progress.waited = int(epoch), int(waited)
            model.load_state_dict(under("model.", tensors))
            progress.best = under("best.", tensors) or None
        except (OSError, KeyError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
            raise DamagedFile(
                f"{path} ({error})", "a checkpoint of this training", "delete it to begin anew"
            ) from error
        for i, parameter in enumerate(model.parameters()):
            if f"momentum.{i}" in tensors:
                momentum = tensors[f"momentum.{i}"].to(parameter.device)
                optimizer.state[parameter]["momentum_buffer"] = momentum.contiguous(
                    memory_format=torch.channels_last if momentum.ndim == 4 else torch.contiguous_format
                )
        return progress
