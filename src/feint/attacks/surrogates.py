"""Forward passes of the attacker's own models, which cost no queries."""

import torch
from torch import Tensor, nn

from feint.attacks.probing import BATCH, in_batches
from feint.data import Split
from feint.models.networks import Classifier


@torch.no_grad()
def logits(surrogate: nn.Module, x: Tensor) -> Tensor:
    """Return the logits (N, K) of the inputs `x` (N, C, H, W), computed in batches."""
    return torch.cat([surrogate(part) for part in x.split(BATCH)])


@torch.no_grad()
def logits_of_rows(surrogate: Classifier, pool: Split, rows: Tensor) -> Tensor:
    """Return the logits (n, K) of these rows of the pool, decoded in batches."""
    return torch.cat([surrogate(x) for x in in_batches(pool, rows)])
