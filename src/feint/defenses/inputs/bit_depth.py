"""Fewer levels for every value."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from feint.defenses.inputs.input import Input
from feint.errors import in_range


@dataclass(frozen=True)
class BitDepth(Input):
    """Round every value to one of 2^bits levels: round(x · (2^bits − 1)) / (2^bits − 1) (Xu et al., NDSS 2018).

    x: (N, …) in [0, 1]. Images of 256 levels pass unchanged with `bits=8`. Against theft it takes from an attacker the
    differences smaller than a level, with which gradients are estimated and boundaries searched for. Raises `BadRecipe`
    for less than 1 bit or more than 16.
    """

    cite: ClassVar[str] = "xu2018feature"
    bits: int = 3

    def __post_init__(self) -> None:
        in_range(self, "bits", "1 to 16; 8 are those of an ordinary image", 1, 16)

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        highest = 2**self.bits - 1
        return (x * highest).round() / highest
