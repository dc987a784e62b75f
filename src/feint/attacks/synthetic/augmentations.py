"""How JBDA makes new inputs of those it has asked: recipes of one step, or of a few, along signs of gradients."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.attacks.synthetic.descent import descend, log_odds
from feint.errors import BadRecipe
from feint.models.perturbation import FGSM, PGD


@dataclass(frozen=True, eq=False)
class KnownAnswers:
    """N inputs `x` (N, …) in [0, 1], and the `label` (N,) that the oracle's answer gives each of them."""

    x: Tensor
    label: Tensor


class Augmentation(ABC):
    """A frozen dataclass that defines `augment`."""

    cite: ClassVar[str]
    copies: int = 1  # new inputs for each known one
    least_classes: int = 2

    @abstractmethod
    def augment(self, surrogate: nn.Module, known: KnownAnswers, after: int, generator: torch.Generator) -> Tensor:
        """New inputs (N · copies, …) in [0, 1], all that come from one known input side by side.

        `after` rounds have gone before; what is random is drawn from `generator`.
        """


@dataclass(frozen=True)
class JacobianRow(Augmentation):
    """x + λ · sgn(∂F_y(x)/∂x), F_y the surrogate's probability of the oracle's label (Papernot et al., ASIA CCS 2017).

    The surrogate becomes surer of y there. Since ∂F_y and −∂CE have the same signs, this is also the form that the
    code of other papers calls jb-self: FGSM on the cross-entropy to y, with a minus. `step` is λ. With `alternate` = τ
    the sign changes after every τ rounds, λ · (−1)^⌊after/τ⌋; Papernot et al. found that this helps and used it with
    the reservoir.
    """

    cite: ClassVar[str] = "papernot2017practical"
    step: float = 0.1
    alternate: int | None = None

    def __post_init__(self) -> None:
        _check_row(self, self.step, self.alternate)

    def augment(self, surrogate: nn.Module, known: KnownAnswers, after: int, generator: torch.Generator) -> Tensor:
        sign = _sign(after, self.alternate)
        return descend(surrogate, known.x, lambda z, i: -sign * log_odds(z, known.label[i]), FGSM(self.step))


@dataclass(frozen=True)
class LogitRow(Augmentation):
    """As `JacobianRow`, with F_y the surrogate's logit (after Papernot et al., ASIA CCS 2017).

    A logit can rise while the label's probability falls, so that these are other points. Neither the papers nor their
    ports agree on which of the two F is.
    """

    cite: ClassVar[str] = "papernot2017practical"
    step: float = 0.1
    alternate: int | None = None

    def __post_init__(self) -> None:
        _check_row(self, self.step, self.alternate)

    def augment(self, surrogate: nn.Module, known: KnownAnswers, after: int, generator: torch.Generator) -> Tensor:
        sign, own = _sign(after, self.alternate), known.label[:, None]
        return descend(surrogate, known.x, lambda z, i: -sign * z.gather(1, own[i])[:, 0], FGSM(self.step))


@dataclass(frozen=True)
class AwayFromLabel(Augmentation):
    """x + λ · sgn(∂CE(F(x), y)/∂x), untargeted FGSM (Goodfellow et al., ICLR 2015): what the code of MAD and ModelGuard
    calls jbda. It goes where the surrogate doubts the oracle's label, the opposite way of `JacobianRow`."""

    cite: ClassVar[str] = "goodfellow2015explaining"
    step: float = 0.1

    def __post_init__(self) -> None:
        _check_row(self, self.step, None)

    def augment(self, surrogate: nn.Module, known: KnownAnswers, after: int, generator: torch.Generator) -> Tensor:
        return descend(surrogate, known.x, lambda z, i: log_odds(z, known.label[i]), FGSM(self.step))


@dataclass(frozen=True)
class RandomTargets(Augmentation):
    """JBDA-TR (Juuti et al., EuroS&P 2019): `copies` of each input by I-FGSM, in each step toward a new random class.

        x ← clip(x − α · sgn(∂CE(F(x), t)/∂x)), α = 1.85 · radius / steps, within `radius` of the input in every pixel

    That t is never the oracle's label is our choice.
    """

    cite: ClassVar[str] = "juuti2019prada"
    copies: int = 3
    radius: float = 0.1
    steps: int = 8

    def __post_init__(self) -> None:
        _check_iterated(self, self.copies, self.radius, self.steps)

    def augment(self, surrogate: nn.Module, known: KnownAnswers, after: int, generator: torch.Generator) -> Tensor:
        label = known.label.repeat_interleave(self.copies, 0)

        def away_from_a_class(z: Tensor, rows: Tensor) -> Tensor:
            others = torch.randint(1, z.shape[1], (len(rows),), generator=generator).to(z.device)
            return -log_odds(z, (label[rows] + others) % z.shape[1])

        x = known.x.repeat_interleave(self.copies, 0)
        return descend(surrogate, x, away_from_a_class, _pgd(self.radius, self.steps), steps=self.steps)


@dataclass(frozen=True)
class NextClasses(Augmentation):
    """jb-topk of MAD's code (Orekondy et al., ICLR 2020): from each input, PGD toward each of the `copies` classes that
    come next to the oracle's label.

    The order of the others is that of the surrogate at the input: labels have none. Radius, steps and the step's
    length are those of `RandomTargets`; what MAD used is unknown to us.
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    copies: int = 3
    radius: float = 0.1
    steps: int = 8

    def __post_init__(self) -> None:
        _check_iterated(self, self.copies, self.radius, self.steps)

    @property
    def least_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.copies + 1

    def augment(self, surrogate: nn.Module, known: KnownAnswers, after: int, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            z = surrogate(known.x)
        others = z.scatter(1, known.label[:, None], -torch.inf)
        target = others.topk(self.copies).indices.flatten()
        x = known.x.repeat_interleave(self.copies, 0)
        pgd = _pgd(self.radius, self.steps)
        return descend(surrogate, x, lambda z, i: -log_odds(z, target[i]), pgd, steps=self.steps)


def _pgd(radius: float, steps: int) -> PGD:
    return PGD(step=1.85 * radius / steps, radius=radius)


def _sign(after: int, alternate: int | None) -> int:
    return -1 if alternate is not None and after // alternate % 2 else 1


def _check_row(recipe: Augmentation, step: float, alternate: int | None) -> None:
    if not 0 < step <= 1:
        raise BadRecipe(repr(recipe), "a step above 0 and at most 1", "change it")
    if alternate is not None and alternate < 1:
        raise BadRecipe(repr(recipe), "a sign that alternates after 1 round or more, or None", "change it")


def _check_iterated(recipe: Augmentation, copies: int, radius: float, steps: int) -> None:
    if copies < 1 or steps < 1 or not 0 < radius <= 1:
        raise BadRecipe(repr(recipe), "1 copy and step or more, and a radius above 0 and at most 1", "change it")
