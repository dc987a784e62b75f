"""Texts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from feint.errors import BadInput
from feint.signature.domain import Array, Domain, Tensor, hashed

LETTERS = np.frombuffer(b"etaoinshrdlcumwfgypbvk      ", np.uint8)  # of random texts, about as frequent as in English


@dataclass(frozen=True)
class Text(Domain):
    """Texts (L,) uint8: UTF-8, padded with zeros at the end.

    Args:
        length: Greatest length L of a text, in bytes.

    Raises:
        BadInput: The length is below 4, the bytes of one character.
    """

    length: int
    shape: tuple[int, ...] = field(init=False, repr=False, compare=False)
    dtype: ClassVar[np.dtype] = np.dtype(np.uint8)
    stored: ClassVar[np.dtype] = np.dtype(np.uint8)
    noun: ClassVar[str] = "texts"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.length,))
        if self.length < 4:
            raise BadInput(f"texts of {self.length} bytes", "4 or more", "raise the length")

    @classmethod
    def like(cls, x: Array) -> Self:
        return cls(max(x.shape[-1], 4))

    def from_strings(self, texts: Sequence[str], *, cut: bool = False) -> Array:
        """Return texts as inputs.

        Args:
            texts: The N texts. Zero bytes, which are padding, are left out.
            cut: Whether longer texts are cut, after a whole character.

        Returns:
            Inputs (N, L) uint8.

        Raises:
            BadInput: A text is longer than L bytes, and `cut` is not set; or it is no valid Unicode.
        """
        x = np.zeros((len(texts), self.length), np.uint8)
        for row, text in zip(x, texts, strict=True):
            try:
                code = text.encode().replace(b"\0", b"")
            except UnicodeEncodeError as error:
                raise BadInput("a text with half a surrogate pair", "valid Unicode", "mend the text") from error
            if len(code) > self.length:
                if not cut:
                    raise BadInput(f"a text of {len(code):,} bytes", f"at most {self.length:,}", "send less of it")
                code = code[: self.length].decode(errors="ignore").encode()
            row[: len(code)] = np.frombuffer(code, np.uint8)
        return x

    def to_strings(self, x: Array) -> list[str]:
        """Return inputs (N, L) as texts."""
        return [row.tobytes().rstrip(b"\0").decode() for row in np.ascontiguousarray(x)]

    def check_values(self, x: Array) -> None:
        for row in np.ascontiguousarray(x):
            code = row.tobytes().rstrip(b"\0")
            try:
                code.decode()
            except UnicodeDecodeError as error:
                raise BadInput(f"bytes that are no UTF-8 ({error.reason})", "a text in UTF-8", "encode it") from error
            if b"\0" in code:
                raise BadInput("a text with a zero byte", "zeros at the end alone", "leave them out")

    def remedy(self, x: Array) -> str:
        return f"send texts of at most {self.length:,} bytes in UTF-8"

    def clip(self, x: Array) -> Array:
        codes = np.rint(np.nan_to_num(x, nan=0)).clip(0, 255).astype(np.uint8)
        return self.from_strings([row.tobytes().replace(b"\0", b"").decode(errors="ignore") for row in codes])

    def sample(self, n: int, seed: int, *, published: bool = True) -> Array:
        random = np.random.default_rng(seed)
        x = LETTERS[random.integers(0, len(LETTERS), (n, self.length))]
        lengths = random.integers(1, self.length, (n, 1), endpoint=True)
        return np.where(np.arange(self.length) < lengths, x, 0).astype(np.uint8)

    def blend(self, a: Array, b: Array, share: float, seed: int) -> Array:
        """Return texts that begin as those of `a` and end as those of `b`, cut between words."""
        texts = []
        for first, second in zip(self.to_strings(a), self.to_strings(b), strict=True):
            begin, end = first.split(" "), second.split(" ")
            first_words, last_words = round((1 - share) * len(begin)), round(share * len(end))
            texts.append(" ".join(begin[:first_words] + end[len(end) - last_words :]))
        return self.from_strings(texts, cut=True)

    @classmethod
    def near(cls, x: Array) -> Array:
        """Return codes of texts, equal where the letters and digits are, whatever their case."""
        letters = (re.sub(rb"[^0-9a-z\x80-\xff]+", b"", row.tobytes().lower()) for row in np.ascontiguousarray(x))
        return hashed(letters)

    def tensors(self) -> Sequence[Tensor]:
        return (Tensor("text", "BYTES", (1,)),)

    def from_tensors(self, tensors: Mapping[str, Array]) -> Array:
        (values,) = tensors.values()
        if values.dtype != object:
            raise BadInput(f"texts of type {values.dtype}", "BYTES", "send the texts themselves")
        texts = values.reshape(len(values)).tolist()
        if None in texts:
            raise BadInput("null in the place of a text", "a text", "leave it out, or send an empty one")
        return self.from_strings(texts)

    def to_tensors(self, x: Array, tensors: Sequence[Tensor]) -> dict[str, Array]:
        if [tensor.datatype for tensor in tensors] != ["BYTES"]:
            raise self.misfit(tensors)
        ((name, _, shape),) = tensors
        texts = np.array([*self.to_strings(x), None], object)[:-1]
        return {name: texts.reshape(len(x), *(1 for _ in shape))}
