"""Augmentations of JBDA: new inputs by one or several steps along the signs of gradients."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.synthetic.descent import descend, log_odds
from feint.errors import BadRecipe
from feint.models.networks import Classifier
from feint.models.perturbation import FGSM, PGD


@dataclass(frozen=True, eq=False)
class KnownAnswers:
    """Inputs with the labels that the oracle's answers give them.

    Attributes:
        x: Inputs (N, …).
        label: Labels (N,).
    """

    x: Tensor
    label: Tensor


class Augmentation(ABC):
    """Augmentation of known inputs: a frozen dataclass that defines `augment`.

    Attributes:
        cite: Key of the paper in docs/references.bib.
        copies: New inputs for each known one.
        least_classes: Fewest classes with which it works.
    """

    cite: ClassVar[str]
    copies: int = 1
    least_classes: int = 2

    @abstractmethod
    def augment(
        self, surrogate: Classifier, known: KnownAnswers, rounds_done: int, generator: torch.Generator
    ) -> Tensor:
        """Return new inputs made of known ones.

        Args:
            surrogate: Model from inputs (n, …) to logits (n, K).
            known: N inputs and their labels.
            rounds_done: Number of rounds before this one.
            generator: Generator of all random choices.

        Returns:
            New inputs (N · copies, …); those of one known input are neighbours.
        """


@dataclass(frozen=True)
class JacobianRow(Augmentation):
    """The augmentation of JBDA, along the surrogate's gradient for the oracle's label (Papernot et al., ASIA CCS 2017).

        x + λ · sgn(∂F_y(x)/∂x)        F_y the surrogate's probability of the oracle's label y

    The surrogate's confidence in y rises there. Since ∂F_y and −∂CE have the same signs, this is also the form that the
    code of other papers calls jb-self: FGSM on the cross-entropy to y, with a minus.

    Args:
        step: λ, above 0 and at most 1.
        alternate: τ, the number of rounds after which the sign changes: λ · (−1)^⌊rounds_done/τ⌋. Papernot et al. found
            that this helps, and used it with the reservoir. None keeps the sign.
    """

    cite: ClassVar[str] = "papernot2017practical"
    step: float = 0.1
    alternate: int | None = None

    def __post_init__(self) -> None:
        _check_single_step(self, self.step, self.alternate)

    def augment(
        self, surrogate: Classifier, known: KnownAnswers, rounds_done: int, generator: torch.Generator
    ) -> Tensor:
        sign = _sign(rounds_done, self.alternate)
        return descend(surrogate, known.x, lambda z, i: -sign * log_odds(z, known.label[i]), FGSM(self.step))


@dataclass(frozen=True)
class LogitRow(Augmentation):
    """`JacobianRow` with F_y the surrogate's logit instead of its probability (after Papernot et al., ASIA CCS 2017).

    A logit can rise while the label's probability falls, so that these are other points. The papers and their ports do
    not agree on which of the two F is.

    Args:
        step: λ, above 0 and at most 1.
        alternate: τ, the number of rounds after which the sign changes, or None.
    """

    cite: ClassVar[str] = "papernot2017practical"
    step: float = 0.1
    alternate: int | None = None

    def __post_init__(self) -> None:
        _check_single_step(self, self.step, self.alternate)

    def augment(
        self, surrogate: Classifier, known: KnownAnswers, rounds_done: int, generator: torch.Generator
    ) -> Tensor:
        sign, label = _sign(rounds_done, self.alternate), known.label[:, None]
        return descend(surrogate, known.x, lambda z, i: -sign * z.gather(1, label[i])[:, 0], FGSM(self.step))


@dataclass(frozen=True)
class AwayFromLabel(Augmentation):
    """Untargeted FGSM (Goodfellow et al., ICLR 2015), which the code of MAD and ModelGuard calls jbda.

        x + λ · sgn(∂CE(F(x), y)/∂x)

    The surrogate's confidence in the oracle's label falls there: the direction is opposite to that of `JacobianRow`.

    Args:
        step: λ, above 0 and at most 1.
    """

    cite: ClassVar[str] = "goodfellow2015explaining"
    step: float = 0.1

    def __post_init__(self) -> None:
        _check_single_step(self, self.step, None)

    def augment(
        self, surrogate: Classifier, known: KnownAnswers, rounds_done: int, generator: torch.Generator
    ) -> Tensor:
        return descend(surrogate, known.x, lambda z, i: log_odds(z, known.label[i]), FGSM(self.step))


@dataclass(frozen=True)
class RandomTargets(Augmentation):
    """JBDA-TR (Juuti et al., EuroS&P 2019): I-FGSM toward a new random class in each step.

        x ← clip(x − α · sgn(∂CE(F(x), t)/∂x)), α = 1.85 · radius / steps, within the radius of the input in every pixel

    That t is never the oracle's label is our choice.

    Args:
        copies: New inputs for each known one.
        radius: Largest change of a number, as a share of its usual range, above 0 and at most 1.
        steps: Steps of each copy.
    """

    cite: ClassVar[str] = "juuti2019prada"
    copies: int = 3
    radius: float = 0.1
    steps: int = 8

    def __post_init__(self) -> None:
        _check_iterated_steps(self, self.copies, self.radius, self.steps)

    def augment(
        self, surrogate: Classifier, known: KnownAnswers, rounds_done: int, generator: torch.Generator
    ) -> Tensor:
        label = known.label.repeat_interleave(self.copies, 0)

        def negative_log_odds(z: Tensor, rows: Tensor) -> Tensor:
            others = torch.randint(1, z.shape[1], (len(rows),), generator=generator).to(z.device)
            return -log_odds(z, (label[rows] + others) % z.shape[1])

        x = known.x.repeat_interleave(self.copies, 0)
        return descend(surrogate, x, negative_log_odds, _pgd(self.radius, self.steps), steps=self.steps)


@dataclass(frozen=True)
class NextClasses(Augmentation):
    """The jb-topk of MAD's code (Orekondy et al., ICLR 2020): PGD toward each of the next likeliest classes.

    The targets are the classes that come next to the oracle's label, in the surrogate's order at the input, since
    labels have no order. Steps climb the target's log odds. By default they are as long as those of `RandomTargets`, as
    in ModelGuard's code. MAD's code takes steps of 0.01 up the target's logit.

    Args:
        copies: Number of target classes, and new inputs for each known one.
        radius: Largest change of a number, as a share of its usual range, above 0 and at most 1.
        steps: Steps of each copy.
        step: Length of a step, above 0 and at most 1; None for 1.85 · radius / steps.
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    copies: int = 3
    radius: float = 0.1
    steps: int = 8
    step: float | None = None

    def __post_init__(self) -> None:
        _check_iterated_steps(self, self.copies, self.radius, self.steps)
        if self.step is not None:
            _check_single_step(self, self.step, None)

    @property
    def least_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.copies + 1

    def augment(
        self, surrogate: Classifier, known: KnownAnswers, rounds_done: int, generator: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            z = surrogate(known.x)
        others = z.scatter(1, known.label[:, None], -torch.inf)
        target = others.topk(self.copies).indices.flatten()
        x = known.x.repeat_interleave(self.copies, 0)
        pgd = _pgd(self.radius, self.steps) if self.step is None else PGD(self.step, self.radius)
        return descend(surrogate, x, lambda z, i: -log_odds(z, target[i]), pgd, steps=self.steps)


def _pgd(radius: float, steps: int) -> PGD:
    return PGD(step=1.85 * radius / steps, radius=radius)


def _sign(rounds_done: int, alternate: int | None) -> int:
    return -1 if alternate is not None and rounds_done // alternate % 2 else 1


def _check_single_step(recipe: Augmentation, step: float, alternate: int | None) -> None:
    if not 0 < step <= 1:
        raise BadRecipe(repr(recipe), "a step above 0 and at most 1", "change it")
    if alternate is not None and alternate < 1:
        raise BadRecipe(repr(recipe), "a sign that alternates after 1 round or more, or None", "change it")


def _check_iterated_steps(recipe: Augmentation, copies: int, radius: float, steps: int) -> None:
    if copies < 1 or steps < 1 or not 0 < radius <= 1:
        raise BadRecipe(repr(recipe), "1 copy and step or more, and a radius above 0 and at most 1", "change it")
