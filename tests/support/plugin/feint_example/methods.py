"""An output defense that learns, and a lens."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from feint.attacks import PointwiseLens
from feint.attacks.lenses.lens import DefenseLike
from feint.defenses.outputs import Output
from feint.errors import NotFitted, in_range
from feint.fitting import FitContext, Fittable
from feint.recipes.store import Weights
from feint.victims import answers


@dataclass(frozen=True)
class Averaging(Output, Fittable):
    """The answer, moved a share of the way to the victim's mean answer."""

    cite: ClassVar[str] = "example2026averaging"
    countermeasures: ClassVar[Mapping[str, str]] = {"squared": "Squared()"}
    share: float = 0.5
    mean: Weights | None = None

    def __post_init__(self) -> None:
        in_range(self, "share", "0 (the identity) to 1", 0, 1)

    @property
    def preserves(self) -> str:
        return ""

    def fit_from(self, context: FitContext) -> Self:
        return replace(self, mean=Weights.of({"mean": answers(context.victim, context.inputs).mean(0)}))

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.mean is None:
            raise NotFitted(repr(self), "a mean answer", "fit it first")
        return (1 - self.share) * p + self.share * self.mean.tensors["mean"].to(p)


@dataclass(frozen=True)
class Squared(PointwiseLens):
    """The answers' squares, scaled to sum to 1."""

    cite: ClassVar[str] = "example2026averaging"

    def incompatible(self, defense: DefenseLike) -> str | None:
        return "squares of labels are labels" if any(step.labels_only for step in defense.outputs) else None

    def send(self, x: Tensor) -> Tensor:
        return x

    def read(self, p: Tensor) -> Tensor:
        return p.square() / p.square().sum(-1, keepdim=True)
