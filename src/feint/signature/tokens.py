"""Sequences of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from feint.errors import BadInput
from feint.signature.domain import Array, Domain, Tensor, converted

IDS = "input_ids"
MASK, TYPES = "attention_mask", "token_type_ids"  # what a request may say as well
IDS_NAMES = IDS, "ids", "tokens"  # usual names of the tensors
MASK_NAMES, TYPES_NAMES = (MASK, "mask"), (TYPES, "segment_ids")


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

    def blend(self, a: Array, b: Array, share: float, seed: int) -> Array:
        """Return sequences that begin as those of `a` and end as those of `b`, cut and padded to the length."""
        mixed = np.full_like(a, self.padding)
        for row, first, second in zip(mixed, map(self._trimmed, a), map(self._trimmed, b), strict=True):
            begin = first[: round((1 - share) * len(first))]
            end = second[len(second) - round(share * len(second)) :]
            joined = np.concatenate([begin, end])[: self.length]
            row[: len(joined)] = joined
        return mixed

    def _trimmed(self, sequence: Array) -> Array:
        """Return a sequence (L,) without the padding at its end."""
        tokens = np.flatnonzero(sequence != self.padding)
        return sequence[: tokens[-1] + 1 if len(tokens) else 0]

    def tensors(self) -> Sequence[Tensor]:
        return (Tensor(IDS, "INT64", (-1,)),)

    def further_tensors(self) -> Sequence[Tensor]:
        return Tensor(MASK, "INT64", (-1,)), Tensor(TYPES, "INT64", (-1,))

    def from_tensors(self, tensors: Mapping[str, Array]) -> Array:
        if IDS not in tensors:
            raise BadInput(f"no {IDS}", f"{IDS}, INT64 (N, L)", "send the token numbers")
        tokens = converted(tensors[IDS], self.dtype)
        if tokens.shape[1] > self.length:
            raise BadInput(f"sequences of {tokens.shape[1]:,} tokens", f"at most {self.length:,}", "cut them")
        for name in (MASK, TYPES):
            if name in tensors and tensors[name].shape != tokens.shape:
                raise BadInput(f"{name} of shape {tensors[name].shape}", f"that of {IDS}", "send one for each token")
        if MASK in tensors:
            tokens = self._masked(tokens, converted(tensors[MASK], self.dtype))
        if TYPES in tensors and converted(tensors[TYPES], self.dtype).any():
            raise BadInput(f"{TYPES} other than 0", "zeros: one text each", "leave them out")
        padded = np.full((len(tokens), self.length), self.padding, self.dtype)  # np.pad takes 12 µs more
        padded[:, : tokens.shape[1]] = tokens
        return padded

    def _masked(self, tokens: Array, mask: Array) -> Array:
        """Return the tokens, after checking that a mask hides what is padding, at the end, and nothing else."""
        ends = (mask[:, 1:] <= mask[:, :-1]).all() and np.isin(mask, (0, 1)).all()
        if not ends or (tokens[mask == 0] != self.padding).any():
            expected = f"1 for tokens and, at the end, 0 for padding, which is {self.padding}"
            raise BadInput(f"an {MASK} that hides tokens", expected, "leave it out: the padding decides")
        last = np.take_along_axis(tokens, (mask.sum(1, keepdims=True) - 1).clip(min=0), 1) if tokens.size else tokens
        if (last[mask.any(1)] == self.padding).any():
            raise BadInput(f"an {MASK} of 1 for padding at the end", "0 there", "leave it out: the padding decides")
        return tokens

    def to_tensors(self, x: Array, tensors: Sequence[Tensor]) -> dict[str, Array]:
        names = {tensor.name for tensor in tensors}
        numbers = not any(tensor.datatype == "BYTES" for tensor in tensors)
        single = next(iter(names)) if len(names) == 1 else ""
        ids, mask, types = (
            next((name for name in known if name in names), "") for known in (IDS_NAMES, MASK_NAMES, TYPES_NAMES)
        )
        ids = ids or single
        if not numbers or not ids or names - {ids, mask, types}:
            raise self.misfit(tensors)
        ahead = np.flip(np.logical_or.accumulate(np.flip(x != self.padding, 1), 1), 1)  # padding within a text counts
        values = {ids: x, mask: ahead.astype(self.dtype), types: np.zeros_like(x)}
        return {name: values[name] for name in names}
