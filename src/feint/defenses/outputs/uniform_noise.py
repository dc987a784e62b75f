"""Uniform noise that an input always gets the same."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.defenses.outputs.noise import Noise


@dataclass(frozen=True)
class UniformNoise(Noise):
    """normalise(max(p + U(−scale, scale), 0)) with noise drawn from the input and the owner's `key`, as `Noise` says.

    The random-noise baseline of Orekondy et al. (ICLR 2020), there on logits. No probability moves by more than `scale`
    before the row is scaled, so a label that leads by more than twice that is kept.
    """

    cite: ClassVar[str] = "orekondy2020prediction"

    def of(self, uniform: Tensor) -> Tensor:
        return uniform.mul_(2).sub_(1)
