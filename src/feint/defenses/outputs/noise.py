"""Base of the noise defenses: noise keyed by the input."""

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
    """Noise drawn from the input and the owner's `key`: normalise(max(p + scale · noise, 0)).

    The same input gets the same answer on every replica, so that the mean over repeats reveals nothing. No state is
    stored. Where no class stays above 0, the one with the largest value is shown alone. `BadInput` is raised without
    `x`.

    Attributes:
        key: The owner's secret.
        scale: Scale of the noise, 0 (the identity) or more.
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
    def from_uniform(self, uniform: Tensor) -> Tensor:
        """Return the noise, in units of `scale`, for numbers (N, K) uniform in (0, 1), which may be overwritten."""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.scale == 0:
            return p
        noise = self.from_uniform(uniforms(self.key, x, p.shape[-1])).mul_(self.scale)
        return onto_simplex(p + noise.to(p))
