"""Gaussian noise that an input always gets the same."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.noise import Noise


@dataclass(frozen=True)
class GaussianNoise(Noise):
    """normalise(max(p + scale · N(0, 1), 0)) with noise drawn from the input and the owner's `key`, as `Noise` says.

    The noise of ART (Nicolae et al. 2018) is drawn anew for each answer, and the mean over repeats removes it.
    """

    cite: ClassVar[str] = "nicolae2018adversarial"

    def of(self, uniform: Tensor) -> Tensor:
        return torch.special.ndtri(uniform)
