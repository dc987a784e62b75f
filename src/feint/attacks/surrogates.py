"""What an attacker asks models of his own, for nothing."""

import torch
from torch import Tensor, nn

from feint.attacks.probing import BATCH, in_batches
from feint.data import Split
from feint.models.networks import Classifier


@torch.no_grad()
def logits(surrogate: nn.Module, x: Tensor) -> Tensor:
    """The logits (N, K) of inputs `x` (N, C, H, W), a batch at a time."""
    return torch.cat([surrogate(part) for part in x.split(BATCH)])


@torch.no_grad()
def logits_of_rows(surrogate: Classifier, pool: Split, rows: Tensor) -> Tensor:
    """The logits (n, K) of these rows of the pool, decoded a batch at a time."""
    return torch.cat([surrogate(x) for x in in_batches(pool, rows)])
