"""Uniform noise, keyed by the input."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.defenses.outputs.noise import Noise


@dataclass(frozen=True)
class UniformNoise(Noise):
    """Uniform noise keyed by the input: normalise(max(p + U(−scale, scale), 0)). See `Noise`.

    The random-noise baseline of Orekondy et al. (ICLR 2020), there on logits. No probability moves by more than `scale`
    before the row is scaled, so that a label which leads by more than twice that is kept.

    Attributes:
        key: The owner's secret.
        scale: Largest change of a probability, 0 (the identity) or more.
        perceptual: Share of the noise's variance that the perceptual code draws, not the mark, below 1 (None: none).
    """

    cite: ClassVar[str] = "orekondy2020prediction"

    def from_uniform(self, uniform: Tensor) -> Tensor:
        return uniform.mul_(2).sub_(1)
