"""Checkpoints of a training, written after every epoch, so that an interrupted one continues to the same weights."""

import copy
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.data import decode
from feint.errors import DamagedFile, one_line
from feint.recipes.store import atomic_write
from feint.signature import Domain


@dataclass
class TrainingState:
    """State of a training between two epochs, apart from its model and optimizer.

    Attributes:
        epoch: Number of completed epochs.
        least: Smallest loss on the holdout so far.
        waited: Epochs since then.
        best: Weights after that epoch; None without a holdout.
        losses: Mean training loss of each epoch.
    """

    epoch: int = 0
    least: float = math.inf
    waited: int = 0
    best: dict[str, Tensor] | None = None
    losses: list[float] = field(default_factory=list)

    def patience_ended(self, patience: int | None) -> bool:
        """Return whether the last `patience` epochs brought no smaller loss on the holdout."""
        return patience is not None and self.waited >= patience

    def update_best(self, model: nn.Module, x: Tensor, targets: Tensor, domain: Domain) -> None:
        """Compare the loss on the holdout `x` (N, …) and its `targets` with that of the best epoch."""
        model.eval()
        device = next(model.parameters()).device
        with torch.no_grad():
            losses = [
                F.cross_entropy(model(decode(a, domain).to(device)).float(), b.to(device), reduction="sum").item()
                for a, b in zip(x.split(500), targets.split(500), strict=True)
            ]
        model.train()
        if sum(losses) < self.least:
            self.least, self.waited, self.best = sum(losses), 0, copy.deepcopy(model.state_dict())
        else:
            self.waited += 1

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> None:
        """Write model, optimizer and this state to `path`, atomically."""
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(self)}
        buffer = io.BytesIO()  # torch.save to a file would raise a bare RuntimeError on a full disk
        torch.save(state, buffer)
        with atomic_write(path) as partial:
            partial.write_bytes(buffer.getbuffer())

    @classmethod
    def resume(cls, path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer) -> "TrainingState":
        """Load the state at `path`, and model and optimizer with it; a new state where there is no file.

        Returns:
            The state.

        Raises:
            DamagedFile: The file is truncated, foreign or of another network.
        """
        if path is None or not path.exists():
            return cls()
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            return cls(**state["progress"])
        except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
            raise DamagedFile(
                f"{path} ({one_line(error, 200)})", "a checkpoint of this training", "delete it to begin anew"
            ) from error
