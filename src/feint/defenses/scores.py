"""How ordinary a query looks: functions `(x, z) -> (N,)` of inputs and undefended logits; low is suspicious.

A detector of the access room turns them into evidence against a client, a gate of the outputs room into the share of
the harsh answer. `of_probabilities` says that a score is the same for `z` and for log softmax(z).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadRecipe
from feint.progress import ProgressCallback
from feint.victims import logits

__all__ = ["Energy", "MaxProbability"]


class Score(Protocol):
    """Low is suspicious."""

    of_probabilities: ClassVar[bool]

    def __call__(self, x: Tensor, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Energy:
    """T log Σ exp(z_k / T), the negative free energy (Liu, Wang, Owens and Li, NeurIPS 2020)."""

    of_probabilities: ClassVar[bool] = False
    cite: ClassVar[str] = "liu2020energy"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise BadRecipe(f"a temperature of {self.temperature}", "a number above 0", "change it")

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        return self.temperature * (z / self.temperature).logsumexp(-1)


@dataclass(frozen=True)
class MaxProbability:
    """The largest probability (Hendrycks and Gimpel, ICLR 2017)."""

    of_probabilities: ClassVar[bool] = True
    cite: ClassVar[str] = "hendrycks2017baseline"

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        return z.softmax(-1).amax(-1)


def scores(score: Score, victim: nn.Module, inputs: Split, progress: ProgressCallback) -> Tensor:
    """The scores (N,) of all `inputs`, as `victim` sees them: what a threshold or a test is calibrated on."""
    found = []
    for rows in torch.arange(len(inputs)).split(500):
        x = inputs.inputs(rows)
        found.append(score(x, logits(victim.eval(), x)))
        progress.step("calibrating", int(rows[-1]) + 1, len(inputs))
    return torch.cat(found)
