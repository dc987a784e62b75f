"""Bit depth reduction."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from feint.defenses.inputs.input import Input
from feint.errors import in_range
from feint.signature import Domain, Pixels


@dataclass(frozen=True)
class BitDepth(Input):
    """Rounds every value to one of 2^bits levels (Xu et al., NDSS 2018).

    x ↦ round(x · (2^bits − 1)) / (2^bits − 1) for inputs (N, …) in [0, 1]. Images of 256 levels pass unchanged with
    `bits=8`. The defense hides differences smaller than a level, with which an attacker estimates gradients and
    searches for boundaries.

    Attributes:
        bits: Bits of a value, 1 to 16.
    """

    cite: ClassVar[str] = "xu2018feature"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    bits: int = 3

    def __post_init__(self) -> None:
        in_range(self, "bits", "1 to 16; 8 are those of an ordinary image", 1, 16)

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        highest = 2**self.bits - 1
        return (x * highest).round() / highest
