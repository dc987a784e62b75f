"""Disguises: changes that make inputs of a pool look ordinary before they are asked.

Figures are medians of the queries until the sequential test accuses, without slices, of 100 streams with one seed:
CIFAR-100 against a published ResNet-20 on CIFAR-10, where images as they are need 13.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.domains import AttackerMethod
from feint.attacks.probing import BATCH, require_like
from feint.attacks.synthetic.descent import SLOPED, descend, require_slope
from feint.attacks.variation import blended, drawn
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.perturbation import PGD, GradientStep
from feint.signature import Columns, Domain, Pixels, Text, Tokens


class Disguise(AttackerMethod, ABC):
    """Disguise of pool inputs: a frozen dataclass that defines `apply`."""

    cite: ClassVar[str]

    def require(self, pool: Split, model: Network) -> None:
        """Raise `BadInput` unless the disguise works on inputs of `pool`, and with a model of this architecture."""
        self.require_domain(pool.domain)

    @abstractmethod
    def apply(self, x: Tensor, model: Classifier | None, generator: torch.Generator) -> Tensor:
        """Return the queries (N, …) that are made of the pool inputs `x` (N, …).

        Args:
            x: Inputs.
            model: The attacker's model, by which inputs look ordinary; None before there is one.
            generator: Generator of all random choices.
        """


@dataclass(frozen=True)
class RaisedEnergy(Disguise):
    """Gradient steps up the energy log Σ exp z_k of the attacker's model (mimicry; PGD of Madry et al., ICLR 2018).

    The answers are those to the moved inputs. Before there is a model, inputs stay as they are. Categories of a row and
    missing values stay, too. With the defaults on a published ResNet-56: 1,242 queries.

    Args:
        step: Recipe of one step; lengths are shares of the usual range of each number.
        steps: Number of steps, 1 or more.
    """

    cite: ClassVar[str] = "madry2018towards"
    domains: ClassVar[tuple[type[Domain], ...]] = SLOPED
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Tokens, Text), "Blended")
    step: GradientStep = PGD(2 / 255, 8 / 255)
    steps: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadRecipe(repr(self), "one or more steps", "change it")

    def require(self, pool: Split, model: Network) -> None:
        super().require(pool, model)
        require_slope(model, "Blended")

    def apply(self, x: Tensor, model: Classifier | None, generator: torch.Generator) -> Tensor:
        if model is None:
            return x
        parts = [
            descend(model, part, lambda z, _: -z.logsumexp(-1), self.step, steps=self.steps) for part in x.split(BATCH)
        ]
        return torch.cat(parts)


@dataclass(frozen=True)
class Blended(Disguise):
    """Mixture of each input with one of a few ordinary ones (mixup of Zhang et al., ICLR 2018, without its labels).

    Images and numbers are averaged, categories taken from either; a text or sequence ends as the ordinary one does. No
    gain on CIFAR-100, with 20 ordinary images: 12 queries with a share of .2, 13 with .4.

    Args:
        ordinary: Inputs of the victim's task, of which a few are enough.
        share: Share of the ordinary input, between 0 and 1.
        kinds: Number of ordinary inputs that are used, 1 or more.
    """

    cite: ClassVar[str] = "zhang2018mixup"
    ordinary: Split
    share: float = 0.4
    kinds: int = 20

    def __post_init__(self) -> None:
        _check_few(self, self.share, self.kinds)

    def require(self, pool: Split, model: Network) -> None:
        super().require(pool, model)
        require_like(self.ordinary, pool.domain, "ordinary inputs", "the pool has")

    def apply(self, x: Tensor, model: Classifier | None, generator: torch.Generator) -> Tensor:
        others = drawn(self.ordinary.inputs(slice(0, self.kinds)), len(x), generator)
        return blended(x, others, self.share, self.ordinary.domain, generator)


@dataclass(frozen=True)
class Pasted(Disguise):
    """Square of an ordinary image pasted into each image (CutMix of Yun et al., ICCV 2019, without its labels).

    The square lies at the same random place in both images. No gain on CIFAR-100, with 20 ordinary images: 11 queries.

    Args:
        ordinary: Images of the victim's task, of which a few are enough.
        share: Share of the pixels that the square covers, between 0 and 1.
        kinds: Number of ordinary images that are used, 1 or more.
    """

    cite: ClassVar[str] = "yun2019cutmix"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Columns, Tokens, Text), "Blended")
    ordinary: Split
    share: float = 0.4
    kinds: int = 20

    def __post_init__(self) -> None:
        _check_few(self, self.share, self.kinds)

    def require(self, pool: Split, model: Network) -> None:
        super().require(pool, model)
        if len(pool.shape) != 3:
            raise BadInput(f"inputs of shape {pool.shape}", "images (C, H, W)", "use Blended instead")
        require_like(self.ordinary, pool.domain, "ordinary inputs", "the pool has")

    def apply(self, x: Tensor, model: Classifier | None, generator: torch.Generator) -> Tensor:
        others = drawn(self.ordinary.inputs(slice(0, self.kinds)), len(x), generator)
        inside = [_covered(side, len(x), self.share, generator) for side in x.shape[2:]]
        return torch.where(inside[0][:, None, :, None] & inside[1][:, None, None, :], others, x)


def _covered(side: int, count: int, share: float, generator: torch.Generator) -> Tensor:
    """Return which places of a side a square covers, (count, side) bool."""
    length = max(1, round(side * share**0.5))
    start = torch.randint(side - length + 1, (count, 1), generator=generator)
    place = torch.arange(side)
    return (place >= start) & (place < start + length)


def _check_few(disguise: Disguise, share: float, kinds: int) -> None:
    if not 0 < share < 1 or kinds < 1:
        raise BadRecipe(repr(disguise), "a share between 0 and 1, and one or more kinds", "change it")
