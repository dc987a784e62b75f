"""A training step's passes as one launch each, on a GPU: small networks wait there for launches, not for arithmetic."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Captured:
    """`model`, called with batches of a training on a GPU: its passes over a shape are recorded once, and replayed.

    Forward and backward pass of a ResNet-20 are some 400 launches, 10 ms on an H200's host for batches of 32 that take
    the GPU one. What is replayed are the same kernels on the same memory, so that the weights come out bit for bit
    as they do without. Recording runs the passes a few times; the weights and statistics are as before when it is done.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._recorded: dict[torch.Size, Callable[[Tensor], Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape not in self._recorded:
            self._recorded[x.shape] = self._record(x)
        return self._recorded[x.shape](x)

    def _record(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        before = {name: it.clone() for name, it in self._model.state_dict().items()}
        passes: Any = torch.cuda.make_graphed_callables(_Passes(self._model), (torch.zeros_like(x),))
        self._model.load_state_dict(before)
        return passes


class _Passes(nn.Module):
    """The model under another name: what records a module takes its place."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
