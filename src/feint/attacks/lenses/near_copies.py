"""Near copies: an input is asked with the least changes that draw keyed noise anew, and the answers are averaged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from feint.attacks.lenses.averaging import MeanOfCopies
from feint.attacks.lenses.known_parameters import Curve
from feint.errors import in_range
from feint.signature import Columns, Domain, Pixels, Text, Tokens, domain_kind
from feint.signature.columns import DIGITS


@runtime_checkable
class HasExpectation(Protocol):
    """Defense whose draws are independent for each probability, before the row is scaled."""

    def expected(self, p: Tensor) -> Tensor:
        """Return the mean over draws of the map of the probabilities `p`, before the row is scaled."""
        ...


@dataclass(frozen=True)
class NearCopies(MeanOfCopies):
    """Mean of the answers to near copies of an input, which differ by the least that draws keyed noise anew.

    In each copy a few values move: a pixel by one of 256 levels, a number of a table by up to `repeats` units of its
    sixth digit, between the same whole numbers, which may be its limits. A text ends in up to `repeats` − 1 spaces. The
    undefended answers are nearly equal, and noise keyed to the mark is another for each. It is the smoothing attack of
    Tang et al. (USENIX Security 2024) with copies that nobody can tell apart. Numbers without a fraction may be codes,
    and do not move.

    Args:
        repeats: Copies of each input, 1 or more.
        changed: Values that move in a copy of an image or a row, 1 or more.
        noise: Noise that the attacker knows (`feint.defenses.outputs.Noise`): the map from an answer to the mean over
            draws is inverted, since noise that is clipped at 0 leaves a bias in it. Other defenses count as unknown.
        seed: Seed of the copies.
    """

    randomised: ClassVar[bool] = True
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns, Text)
    instead: ClassVar[Mapping[type[Domain], str]] = {Tokens: "Averaged"}
    repeats: int = 16
    changed: int = 2
    noise: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(self, "changed", "1 or more", 1)

    def send(self, x: Tensor) -> Tensor:
        if x.dtype == torch.uint8:
            return torch.from_numpy(_with_spaces(x.cpu().numpy(), self.repeats)).to(x.device)
        random, values = np.random.default_rng(self.seed), x.cpu().contiguous().flatten(1).numpy()
        fractions = (values % 1 != 0) & np.isfinite(values)
        movable = np.flatnonzero(fractions.any(0)) if x.dtype == torch.float64 else np.arange(values.shape[1])
        if not len(movable):
            return x.repeat_interleave(self.repeats, 0)
        places = random.choice(movable, (self.repeats, self.changed))  # those of one copy, of every input
        steps = random.integers(1, self.repeats + 1, places.shape) * random.choice([-1, 1], places.shape)
        copies = np.repeat(values[:, None], self.repeats, 1)
        here = np.s_[:, np.arange(self.repeats)[:, None], places]
        copies[here] = STEPS[domain_kind(values.dtype)](copies[here], steps)
        return torch.from_numpy(copies).to(x.device).flatten(0, 1).unflatten(1, x.shape[1:])

    def read(self, p: Tensor) -> Tensor:
        mean = super().read(p)
        if not isinstance(self.noise, HasExpectation):
            return mean
        estimate = Curve.of(ExpectedAnswer(self.noise)).invert_monotone(mean.double().numpy())
        return torch.from_numpy(estimate / estimate.sum(1, keepdims=True)).to(mean)


@dataclass(frozen=True)
class ExpectedAnswer:
    """Map of single probabilities from an answer to its mean over the draws of a defense, before the row is scaled."""

    defense: HasExpectation

    def elementwise(self, p: Tensor) -> Tensor:
        """Return the map of the probabilities `p`."""
        return self.defense.expected(p)


def _by_a_level(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return pixels moved by one of 256 levels in the direction of the steps, or back at an end of [0, 1]."""
    level = np.float32(1 / 255) * np.sign(steps)
    moved = values + level
    return np.where((moved < 0) | (moved > 1), values - level, moved).astype(values.dtype)


def _by_digits(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return numbers with a fraction moved by so many units of their sixth digit, between the same whole numbers."""
    with np.errstate(divide="ignore", invalid="ignore"):
        units = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        whole = np.floor(values)
        moved = whole + (np.rint((values - whole) * units) + steps) % units / units
    return np.where((values % 1 != 0) & (units > 1), moved, values)


def _with_spaces(x: np.ndarray, repeats: int) -> np.ndarray:
    """Return copies (N · repeats, L) of texts, which end in 0, 1, … spaces, as far as there is room."""
    places = np.arange(x.shape[1])
    length = ((x != 0) * (places + 1)).max(1)
    behind = places - length[:, None, None]
    spaces = (behind >= 0) & (behind < np.arange(repeats)[:, None])
    return np.where(spaces, np.uint8(ord(" ")), x[:, None]).reshape(-1, x.shape[1])


STEPS = {Pixels: _by_a_level, Columns: _by_digits}
