"""Gaussian noise that an input always gets the same."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.keyed import check_key, uniforms
from feint.defenses.outputs.output import Output, onto_simplex
from feint.errors import BadRecipe


@dataclass(frozen=True)
class GaussianNoise(Output):
    """normalise(max(p + scale · N(0, 1), 0)) with noise drawn from the input and the owner's `key`.

    The noise of ART (Nicolae et al. 2018) is drawn anew for each answer, so the mean over repeats removes it. Here the
    same input gets the same answer, on every replica (`feint.defenses.keyed`). Nothing is kept. Where no class stays
    above 0, the one with the largest value is shown alone. `scale=0` is the identity. Raises `BadInput` without `x`.
    """

    cite: ClassVar[str] = "nicolae2018adversarial"
    key: str
    scale: float = 0.2

    def __post_init__(self) -> None:
        check_key(self.key)
        if not 0 <= self.scale < math.inf:
            raise BadRecipe(f"scale={self.scale}", "a standard deviation ≥ 0 (0 is the identity)", "change it")

    @property
    def preserves(self) -> str:
        return ""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.scale == 0:
            return p
        noise = torch.special.ndtri(uniforms(self.key, x, p.shape[-1])).mul_(self.scale)
        return onto_simplex(p + noise.to(p))
