"""How far a training is, on disk after every epoch, so that an interrupted one continues to the same weights."""

import copy
import math
from pathlib import Path

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.data import decode
from feint.errors import DamagedFile
from feint.recipes.store import atomic_write, with_prefix


class TrainingState:
    """How far a training is, the loss of each epoch, and the best weights on the holdout so far."""

    def __init__(self) -> None:
        self.epoch, self.least, self.waited = 0, math.inf, 0
        self.best: dict[str, Tensor] | None = None
        self.losses: list[float] = []

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
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        with atomic_write(path) as partial:
            safetensors.torch.save_file({name: it.contiguous() for name, it in tensors.items()}, partial)

    @classmethod
    def resume(cls, path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer) -> "TrainingState":
        """The progress kept at `path`, model and optimizer brought to it; a new one where there is none."""
        state = cls()
        if path is None or not path.exists():
            return state
        try:
            tensors = safetensors.torch.load_file(path)
            epoch, state.least, waited = tensors["progress"].tolist()
            state.epoch, state.waited = int(epoch), int(waited)
            state.losses = tensors["losses"].tolist()
            model.load_state_dict(with_prefix("model.", tensors))
            state.best = with_prefix("best.", tensors) or None
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
        return state
