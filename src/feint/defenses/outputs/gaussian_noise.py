"""Gaussian noise, keyed by the input."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.noise import Noise


@dataclass(frozen=True)
class GaussianNoise(Noise):
    """Gaussian noise keyed by the input: normalise(max(p + scale · N(0, 1), 0)). See `Noise`.

    The noise of ART (Nicolae et al. 2018) is drawn anew for each answer, and the mean over repeats removes it.

    Attributes:
        key: The owner's secret.
        scale: Deviation of the noise, 0 (the identity) or more.
        perceptual: Share of the noise's variance that the perceptual code draws, not the mark, below 1 (None: none).
    """

    cite: ClassVar[str] = "nicolae2018adversarial"

    def from_uniform(self, uniform: Tensor) -> Tensor:
        return torch.special.ndtri(uniform)
