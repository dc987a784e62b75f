"""Sequences of tokens."""

from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from feint.errors import BadInput
from feint.signature.domain import Array, Domain


@dataclass(frozen=True)
class Tokens(Domain):
    """Sequences (L,) int64 of token numbers, padded at their end.

    Args:
        length: Length L of a sequence.
        vocabulary: Number of tokens; a token is at least 0 and below it.
        padding: Token that fills a sequence up.

    Raises:
        BadInput: A number is out of range.
    """

    length: int
    vocabulary: int
    padding: int = 0
    shape: tuple[int, ...] = field(init=False, repr=False, compare=False)
    dtype: ClassVar[np.dtype] = np.dtype(np.int64)
    stored: ClassVar[np.dtype] = np.dtype(np.int32)
    noun: ClassVar[str] = "sequences"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.length,))
        if self.length < 1 or self.vocabulary < 2 or not 0 <= self.padding < self.vocabulary:
            raise BadInput(repr(self), "length ≥ 1, vocabulary ≥ 2, 0 ≤ padding < vocabulary", "change it")

    @classmethod
    def like(cls, x: Array) -> Self:
        return cls(max(x.shape[-1], 1), max(int(x.max()) + 1, 2) if x.size else 2)

    def check_values(self, x: Array) -> None:
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= self.vocabulary:
            raise BadInput(
                f"tokens from {low} to {high}", f"numbers from 0 to {self.vocabulary - 1}",
                "use the tokenizer of the model",
            )  # fmt: skip

    def remedy(self, x: Array) -> str:
        return f"pad or cut them to {self.length} tokens" if x.dtype == self.dtype else "send token numbers"

    def clip(self, x: Array) -> Array:
        return np.rint(np.nan_to_num(x, nan=self.padding)).clip(0, self.vocabulary - 1).astype(self.dtype)

    def sample(self, n: int, seed: int, *, published: bool = True) -> Array:
        return np.random.default_rng(seed).integers(0, self.vocabulary, (n, self.length), self.dtype)
