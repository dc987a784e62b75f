"""Checkpoints of a training, written between epochs, so that an interrupted one continues to the same weights."""

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
from feint.models.simplex import share_explained
from feint.recipes.store import atomic_write
from feint.signature import Domain

PART = 500  # inputs of a forward pass


@dataclass
class TrainingState:
    """State of a training between two epochs, apart from its model and optimizer.

    Attributes:
        epoch: Number of completed epochs.
        least: Smallest loss on the holdout so far.
        waited: Epochs since then.
        best: Weights after that epoch; None without a holdout.
        losses: Mean training loss of each epoch.
        explained: Share of what the targets tell that the weights after the last epoch reproduce.
    """

    epoch: int = 0
    least: float = math.inf
    waited: int = 0
    best: dict[str, Tensor] | None = None
    losses: list[float] = field(default_factory=list)
    explained: float = 0.0

    def ended(self, patience: int | None, explained: float | None) -> bool:
        """Return whether `patience` epochs brought no smaller loss on the holdout, or enough is explained."""
        return (patience is not None and self.waited >= patience) or (
            explained is not None and self.explained >= explained
        )

    def update_best(self, model: nn.Module, x: Tensor, targets: Tensor, domain: Domain) -> None:
        """Compare the loss on the holdout `x` (N, …) and its `targets` with that of the best epoch."""
        loss = F.cross_entropy(_logits(model, x, domain), targets).item()
        if loss < self.least:
            self.least, self.waited, self.best = loss, 0, copy.deepcopy(model.state_dict())
        else:
            self.waited += 1

    def update_explained(self, model: nn.Module, x: Tensor, rows: Tensor, domain: Domain) -> None:
        """Measure how much of the `rows` (N, K) on the simplex the model reproduces from the inputs `x` (N, …)."""
        self.explained = share_explained(rows, _logits(model, x, domain).softmax(-1)) or 0.0

    def save(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, average: nn.Module | None = None
    ) -> None:
        """Write model, optimizer, average of the weights and this state to `path`, atomically."""
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(self)}
        if average is not None:
            state["average"] = average.state_dict()
        buffer = io.BytesIO()  # torch.save to a file would raise a bare RuntimeError on a full disk
        torch.save(state, buffer)
        with atomic_write(path) as partial:
            partial.write_bytes(buffer.getbuffer())

    @classmethod
    def resume(
        cls, path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None = None
    ) -> "TrainingState":
        """Load the state at `path`, and model, optimizer and average with it; a new state where there is no file.

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
            if average is not None:
                average.load_state_dict(state["average"])
            return cls(**state["progress"])
        except (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
            raise DamagedFile(
                f"{path} ({one_line(error, 200)})", "a checkpoint of this training", "delete it to begin anew"
            ) from error


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor, domain: Domain) -> Tensor:
    """Return the logits (N, K) of stored inputs, computed in evaluation mode; the model is left in training mode."""
    model.eval()
    device = next(model.parameters()).device
    z = torch.cat([model(decode(part, domain).to(device)).float() for part in x.split(PART)])
    model.train()
    return z.cpu()
