"""Scores of how ordinary a query looks: functions `(x, z) -> (N,)` of inputs and undefended logits; low is suspicious.

A detector of the access room turns scores into evidence against a client. A gate of the outputs room turns them into
the share of the harsh answer. `of_probabilities` marks a score that is the same for `z` and for log softmax(z).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.defense import bind
from feint.defenses.access.martingale import LAST_BITS
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext
from feint.ledger import Ledger
from feint.progress import ProgressCallback
from feint.query import channels_last
from feint.victims import CachedForward, logits

__all__ = ["Energy", "MaxProbability"]


class Score(Protocol):
    """Score of queries, of which low values are suspicious."""

    of_probabilities: ClassVar[bool]

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the scores (N,) of inputs `x` (N, …) with undefended logits `z` (N, K)."""
        ...


@dataclass(frozen=True)
class Energy:
    """Negative free energy, T log Σ exp(z_k / T) (Liu, Wang, Owens and Li, NeurIPS 2020).

    Attributes:
        temperature: T, above 0.
    """

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
    """Largest probability of the answer (Hendrycks and Gimpel, ICLR 2017)."""

    of_probabilities: ClassVar[bool] = True
    cite: ClassVar[str] = "hendrycks2017baseline"

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        return z.softmax(-1).amax(-1)


def calibrate(score: Score, context: FitContext) -> tuple[Score, Tensor]:
    """Return the score to use and its values (N,) on the inputs, on which a threshold or a test is calibrated.

    The energy of a model that returns probabilities is the same for every input. `MaxProbability` then takes the place
    of a score that is no score of probabilities. Of one margin for two classes an adapter makes logits whose energy
    rises with its size, so that neither class is more ordinary.

    Raises:
        BadInput: if all inputs have the same value.
    """
    values = scores(score, context.victim, context.inputs, context.progress)
    if _alike(values) and not score.of_probabilities:
        score = MaxProbability()
        values = scores(score, context.victim, context.inputs, context.progress)
    if _alike(values):
        raise BadInput(
            f"the same {type(score).__name__} for all {len(values)} inputs", "answers that differ in their confidence",
            "a model of labels alone needs a detector of inputs: PRADA or SEAT",
        )  # fmt: skip
    return score, values


def _alike(values: Tensor) -> bool:
    return bool(len(values)) and bool(values.max() - values.min() <= LAST_BITS * values.abs().max().clamp_min(1))


def scores(score: Score, victim: nn.Module, inputs: Split, progress: ProgressCallback) -> Tensor:
    """Return the scores (N,), or statistics (N, d), of all `inputs` under `victim`."""
    parts, model = [], CachedForward(victim.eval())
    bound = bind(score, model, Ledger())
    for rows in torch.arange(len(inputs)).split(500):
        x = channels_last(inputs.inputs(rows))
        parts.append(bound(x, logits(model, x)))
        progress.step("calibrating", int(rows[-1]) + 1, len(inputs))
    return torch.cat(parts)
