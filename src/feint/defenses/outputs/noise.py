"""Base of the noise defenses: noise keyed by the input."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.keyed import shared_uniforms
from feint.defenses.keyed_numbers import check_key
from feint.defenses.outputs.output import Output, onto_simplex
from feint.errors import BadRecipe

DRAWS = 500  # quantiles of the noise, over which a mean is computed


@dataclass(frozen=True)
class Noise(Output):
    """Noise drawn from the input and the owner's `key`: normalise(max(p + scale · noise, 0)).

    The same input gets the same answer on every replica, so that the mean over repeats reveals nothing; the mean over
    near copies does (`feint.attacks.NearCopies`). With `perceptual` a share of the noise is drawn by the perceptual
    code, which near copies have in common: that share stays in their mean, and cancels in their differences, from which
    the attacker reads gradients. No state is stored. Where no class stays above 0, the one with the largest value is
    shown alone. `BadInput` is raised without `x`.

    Attributes:
        key: The owner's secret.
        scale: Scale of the noise, 0 (the identity) or more.
        perceptual: Share of the noise's variance that the perceptual code draws, not the mark, below 1 (None: none).
    """

    randomised: ClassVar[bool] = True
    countermeasures: ClassVar[Mapping[str, str]] = {
        "smoothed over 3": "Smoothed(3)",
        "near copies, 16": "NearCopies(16)",
    }
    key: str
    scale: float = 0.2
    perceptual: float | None = None

    def __post_init__(self) -> None:
        check_key(self.key)
        if not 0 <= self.scale < math.inf:
            raise BadRecipe(f"scale={self.scale}", "a scale ≥ 0 (0 is the identity)", "change it")
        if self.perceptual is not None and not 0 <= self.perceptual < 1:
            raise BadRecipe(f"perceptual={self.perceptual}", "a share of 0 to below 1", "change it")

    @property
    def preserves(self) -> str:
        return ""

    @abstractmethod
    def from_uniform(self, uniform: Tensor) -> Tensor:
        """Return the noise, in units of `scale`, for numbers (N, K) uniform in (0, 1), which may be overwritten."""

    def expected(self, p: Tensor) -> Tensor:
        """Return E max(p + scale · noise, 0) of each probability: the map of a mean over draws, without its scale."""
        uniform = (torch.arange(DRAWS, dtype=p.dtype) + 0.5) / DRAWS
        return (p[..., None] + self.scale * self.from_uniform(uniform)).clamp_min_(0).mean(-1)

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.scale == 0:
            return p
        purpose = f"{type(self).__name__} {self.scale!r} {self.perceptual!r}"
        drawn = shared_uniforms(self.key, x, p.shape[-1], purpose=purpose, share=self.perceptual or 0.0)
        noise = self.from_uniform(drawn).mul_(self.scale)
        return onto_simplex(p + noise.to(p))
