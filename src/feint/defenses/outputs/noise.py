"""Noise that an input always gets the same."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.defenses.keyed import check_key, uniforms
from feint.defenses.outputs.output import Output, onto_simplex
from feint.errors import BadRecipe


@dataclass(frozen=True)
class Noise(Output):
    """normalise(max(p + scale · noise, 0)), the noise drawn from the input and the owner's `key` (`defenses.keyed`).

    The same input gets the same answer, on every replica, so the mean over repeats tells nothing. Nothing is kept.
    Where no class stays above 0, the one with the largest value is shown alone. `scale=0` is the identity. Raises
    `BadInput` without `x`.
    """

    randomised: ClassVar[bool] = True
    countermeasures: ClassVar[Mapping[str, str]] = {"smoothed over 3": "Smoothed(3)"}
    key: str
    scale: float = 0.2

    def __post_init__(self) -> None:
        check_key(self.key)
        if not 0 <= self.scale < math.inf:
            raise BadRecipe(f"scale={self.scale}", "a scale ≥ 0 (0 is the identity)", "change it")

    @property
    def preserves(self) -> str:
        return ""

    @abstractmethod
    def of(self, uniform: Tensor) -> Tensor:
        """The noise, in units of `scale`, that numbers (N, K) uniform in (0, 1) become."""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.scale == 0:
            return p
        noise = self.of(uniforms(self.key, x, p.shape[-1])).mul_(self.scale)
        return onto_simplex(p + noise.to(p))
