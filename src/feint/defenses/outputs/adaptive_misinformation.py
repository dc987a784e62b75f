"""Adaptive misinformation."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from feint.defenses.outputs.misinformation import Misinformation, model_answers
from feint.defenses.outputs.output import Output
from feint.errors import BadRecipe
from feint.fitting import FitContext, Fittable
from feint.models.training import Training
from feint.victims import Trained


@dataclass(frozen=True)
class AdaptiveMisinformation(Output, Fittable):
    """Wrong answers where the victim is unsure (Kariyappa and Qureshi, CVPR 2020).

    With the misinformation model f̂ of `Misinformation`::

        q = (1 − a) p + a f̂(x),    a = 1 / (1 + exp(ν (max p − τ)))

    The victim is to be trained with `OutlierExposure` first, so that it is unsure of outliers and of little else.

    Attributes:
        tau: τ, compared with the largest probability, −1 to 2. 0.7 is usual for CIFAR-10. With τ ≤ −1 no answer is
            changed, with τ ≥ 2 every answer is f̂'s.
        nu: ν, above 0: 1000 as in later work, 10,000 in the authors' code, a switch.
        training: Training of f̂.
        misinformation: f̂, set by `fit`.
    """

    cite: ClassVar[str] = "kariyappa2020defending"
    tau: float = 0.7
    nu: float = 1000.0
    training: Training = Training(epochs=10)
    misinformation: Trained | None = None

    def __post_init__(self) -> None:
        if not (-1 <= self.tau <= 2 and self.nu > 0):
            raise BadRecipe(repr(self), "−1 ≤ tau ≤ 2 and nu > 0", "tau is compared with the largest probability")

    @property
    def preserves(self) -> str:
        return ""

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with its misinformation model. `BadInput` is raised without outliers."""
        fitted = Misinformation(self.training).fit_from(context)
        return replace(self, misinformation=fitted.misinformation)

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        wrong = model_answers(self.misinformation, p, x)
        a = (self.nu * (self.tau - p.double().amax(-1, keepdim=True))).sigmoid()
        return ((1 - a) * p + a * wrong).to(p)
