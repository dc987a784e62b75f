"""Choice of inputs on which copies of a model agree with it and innocents do not."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from feint.models.inference import logits

BATCH = 500


def labels_of(model: nn.Module, x: Tensor) -> Tensor:
    """Return the labels (N,) that a model gives to the inputs `x` (N, …)."""
    if not len(x):
        return torch.empty(0, dtype=torch.int64)
    return torch.cat([logits(model, batch).argmax(-1) for batch in x.split(BATCH)])


def agreement(models: Sequence[nn.Module], x: Tensor, labels: Tensor) -> Tensor:
    """Return the share (N,) of the models that give each input its label; zeros without models."""
    if not models:
        return torch.zeros(len(x))
    return torch.stack([labels_of(model, x) == labels for model in models]).float().mean(0)


class Rehearsal(NamedTuple):
    """Models by which a mark's inputs are chosen.

    Attributes:
        references: Innocent models of the task, none of which is later a control.
        copies: Copies that the owner made of the model.
    """

    references: Sequence[nn.Module] = ()
    copies: Sequence[nn.Module] = ()


NONE = Rehearsal()


def most_telling(x: Tensor, labels: Tensor, count: int, rehearsal: Rehearsal, seed: int) -> Tensor:
    """Return the rows of the inputs that tell copies from innocents best (conferrable: Lukas et al., ICLR 2021).

    Args:
        x: Candidates (N, …).
        labels: Their labels (N,) by the model.
        count: Number of rows.
        rehearsal: Models that tell copies from innocents.
        seed: Seed of the order of candidates that are alike, and of the result.

    Returns:
        Rows (n,), n ≤ count, in random order.
    """
    random = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(x), generator=random)
    telling = agreement(rehearsal.copies, x, labels) - agreement(rehearsal.references, x, labels)
    chosen = shuffled[telling[shuffled].argsort(descending=True, stable=True)][:count]
    return chosen[torch.randperm(len(chosen), generator=random)]
