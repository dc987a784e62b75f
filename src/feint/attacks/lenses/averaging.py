"""Lenses that ask about an input several times, and average the answers."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.lenses.lens import PointwiseLens
from feint.errors import BadInput, BadRecipe, in_range
from feint.models.augmentation import augment
from feint.signature import Columns, Domain, Pixels, Text, Tokens, mark


@dataclass(frozen=True)
class MeanOfCopies(PointwiseLens):
    """Base of the lenses that read the mean of the answers to copies of an input.

    Args:
        repeats: Queries for each input, 1 or more.
    """

    cite: ClassVar[str] = "tang2024modelguard"
    repeats: int = 3

    def __post_init__(self) -> None:
        in_range(self, "repeats", "1 or more", 1)

    @property
    def cost(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.repeats

    def read(self, p: Tensor) -> Tensor:
        return p.unflatten(0, (-1, self.repeats)).mean(1)


@dataclass(frozen=True)
class Averaged(MeanOfCopies):
    """Mean of the answers to repeated queries of the same input, in which noise drawn anew for each query averages out.

    The n-query attack on randomised defenses (Tang et al., USENIX Security 2024).

    Args:
        repeats: Queries for each input, 1 or more.
    """

    def send(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.repeats, 0)


@dataclass(frozen=True)
class Smoothed(MeanOfCopies):
    """Mean of the answers to augmented copies of an input, in which what depends on its exact pixels averages out.

    The smoothing attack on defenses that answer the same query alike (Tang et al., USENIX Security 2024): noise that is
    keyed to the query, misinformation, a search for the boundary. The copies depend on `seed` and on the inputs that
    are asked together, by their marks so that no last bit decides, and on nothing that was asked before.

    Args:
        repeats: Copies of each input, 1 or more.
        crop: Most pixels by which a copy is shifted.
        flip: Whether half of the copies are mirrored, as in training.
        seed: Seed of the augmentations.
    """

    randomised: ClassVar[bool] = True
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Columns, Tokens, Text), "Averaged")
    repeats: int = 3
    crop: int = 4
    flip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.crop < 0:
            raise BadRecipe(repr(self), "1 repeat or more, and a crop of 0 pixels or more", "change it")

    def send(self, x: Tensor) -> Tensor:
        if x.ndim != 4:
            raise BadInput(f"inputs of shape {tuple(x.shape)}", "images (N, C, H, W)", "use Averaged instead")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed_of(x))
            return augment(x.repeat_interleave(self.repeats, 0), self.crop, self.flip)

    def _seed_of(self, x: Tensor) -> int:
        """Return the seed of the augmentations of the inputs `x` (N, …)."""
        digest = hashlib.blake2b(b"".join(mark(x.cpu().numpy())), digest_size=8).digest()
        return (self.seed * 1_000_003 + int.from_bytes(digest, "little")) % 2**63
