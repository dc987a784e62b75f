"""Uniform noise that an input always gets the same."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.defenses.keyed import check_key, uniforms
from feint.defenses.outputs.output import Output, onto_simplex
from feint.errors import BadRecipe


@dataclass(frozen=True)
class UniformNoise(Output):
    """normalise(max(p + U(−scale, scale), 0)) with noise drawn from the input and the owner's `key`.

    The random-noise baseline of Orekondy et al. (ICLR 2020), there on logits, here on probabilities and keyed as in
    `GaussianNoise`: repeats get the same answer. No probability moves by more than `scale` before the row is scaled, so
    a label that leads by more than twice that is kept; otherwise nothing is. `scale=0` is the identity. Raises
    `BadInput` without `x`.
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    key: str
    scale: float = 0.2

    def __post_init__(self) -> None:
        check_key(self.key)
        if not 0 <= self.scale < math.inf:
            raise BadRecipe(f"scale={self.scale}", "a largest deviation ≥ 0 (0 is the identity)", "change it")

    @property
    def preserves(self) -> str:
        return ""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.scale == 0:
            return p
        noise = uniforms(self.key, x, p.shape[-1]).mul_(2).sub_(1).mul_(self.scale)
        return onto_simplex(p + noise.to(p))
