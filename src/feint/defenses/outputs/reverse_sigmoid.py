"""Reverse sigmoid, deceptive perturbation of the probabilities."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.defenses.outputs.output import Output
from feint.errors import BadRecipe

LOGIT = math.log((1 - 1e-9) / 1e-9)  # cut off here; cutting p off would leave an infinite one for float32's p = 1


@dataclass(frozen=True)
class ReverseSigmoid(Output):
    """Reverse sigmoid, which deceives in the probabilities (Lee, Edwards, Molloy and Su, IEEE SPW 2019).

    Likely classes are pulled down and unlikely ones lifted. For each class alone, with σ⁻¹ clipped at a probability of
    1e-9::

        q = normalise(clip(f(p), 0, 1)),   f(p) = p − beta · (σ(gamma · σ⁻¹(p)) − ½)

    It keeps nothing exactly: gamma < 1 lifts a class near 0 above others that are likelier, and a label below it is
    lost. For beta ≤ 1 and gamma ≤ 1, not both 1, f(p) > ½ where p > ½ and f(1 − p) = 1 − f(p): a label that holds more
    than half is kept. At the defaults f(p) > f(1e-9) from p = 0.376 on, and every label above that is kept: all but 0.3
    % of softmax answers over 10 classes from Gaussian logits of deviation 6.

    Attributes:
        beta: Strength, 0 (the identity) or more.
        gamma: Slope of the sigmoid, above 0.
    """

    cite: ClassVar[str] = "lee2019defending"
    countermeasures: ClassVar[Mapping[str, str]] = {"known parameters": "KnownParameters"}
    beta: float = 1.0
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not (0 <= self.beta < math.inf and 0 < self.gamma < math.inf):
            raise BadRecipe(repr(self), "beta ≥ 0 (0 is the identity) and gamma > 0", "change it")

    @property
    def preserves(self) -> str:
        return ""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.beta == 0:
            return p
        q = self.elementwise(p)
        return q.div_(q.sum(-1, keepdim=True))  # never a row of zeros: a class below ½ rises, and (½, ½) stays

    def elementwise(self, p: Tensor) -> Tensor:
        """Return clip(f(p), 0, 1) of each probability: the map without its scale, as an attacker knows it."""
        pull = p.logit().clamp_(-LOGIT, LOGIT).mul_(self.gamma).sigmoid_().sub_(0.5)
        return pull.mul_(-self.beta).add_(p).clamp_(0, 1)
