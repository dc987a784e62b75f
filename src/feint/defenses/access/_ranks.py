"""Ranks of scores among benign inputs of the predicted class."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.defense import bind
from feint.defenses.access.martingale import LAST_BITS
from feint.defenses.scores import Score
from feint.ledger import Ledger

LEAST = 50  # benign inputs of a class; those of rarer classes are ranked among all


@dataclass(frozen=True, eq=False)
class RankInClass:
    """Score that is the p-value of another score among benign inputs of the predicted class.

    Attributes:
        score: The other score.
        benign: "class_scores", its values for benign inputs of each class (K, n), rising and filled up with infinity,
            and "class_counts", their numbers (K,).
    """

    cite: ClassVar[str] = "vovk2003testing"
    of_probabilities: ClassVar[bool] = False
    score: Score
    benign: Mapping[str, Tensor]

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        s, label = self.score(x, z), z.argmax(-1)
        raised = s + LAST_BITS * s.abs().clamp_min(1)
        below = (self.benign["class_scores"][label] <= raised[:, None]).sum(-1)
        return torch.where(s.isfinite(), (1 + below) / (1 + self.benign["class_counts"][label]), -torch.inf)

    def bind(self, model: nn.Module, ledger: Ledger) -> "RankInClass":
        """Return this with the other score bound to `model` and `ledger`."""
        return replace(self, score=bind(self.score, model, ledger))


def by_class(s: Tensor, predicted: Tensor, classes: int) -> dict[str, Tensor]:
    """Return the tensors of a `RankInClass`, and the grid of p-values on which bets are tabulated as "inputs".

    Args:
        s: Scores of benign inputs, (n,).
        predicted: Their predicted classes, (n,).
        classes: Number K of classes.

    Returns:
        The tensors. Classes with fewer than 50 of the inputs have the scores of all.
    """
    members = [s[predicted == label] for label in range(classes)]
    members = [part if len(part) >= LEAST else s for part in members]
    counts = torch.tensor([len(part) for part in members])
    table = torch.full((classes, int(counts.max())), torch.inf)
    for row, part in zip(table, members, strict=True):
        row[: len(part)] = part.sort().values
    return {"inputs": grid(len(s)), "class_scores": table, "class_counts": counts}


def grid(n: int) -> Tensor:
    """Return the p-values 1 / (n + 1), …, n / (n + 1)."""
    return torch.arange(1, n + 1) / (n + 1)


def places_of(count: int, n: int) -> Tensor:
    """Return the places in `grid(n)` of the p-values of a class with so many benign inputs, (count + 1,)."""
    return torch.searchsorted(grid(n), torch.arange(1, count + 2) / (count + 1) + LAST_BITS, right=True)
