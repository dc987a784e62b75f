"""Triggers of an accuser that transfer to models of others (Liu et al., USENIX Security 2024)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEP, STEPS, RADIUS = 0.03, 20, 0.3


@torch.enable_grad()
def transferable(models: Sequence[nn.Module], x: Tensor, labels: Tensor) -> Tensor:
    """Return images (N, …) near `x` to which all of the accuser's models give the labels (N,)."""
    start = x
    for _ in range(STEPS):
        x = x.detach().requires_grad_()
        loss = torch.stack([F.cross_entropy(model(x).float(), labels, reduction="sum") for model in models]).sum()
        (slope,) = torch.autograd.grad(loss, x)
        x = (x - STEP * slope.sign()).clamp(start - RADIUS, start + RADIUS).clamp(0, 1)
    return x.detach()
