"""Texts and sequences of tokens as inputs of `Text` and `Tokens`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from feint.data.remarks import Remark
from feint.errors import BadInput
from feint.signature import Text, Tokens

SHARE = 0.95  # of texts that a length which the data tell holds whole
LEAST = 16


def from_texts(texts: Sequence[Any], domain: Text | None) -> tuple[np.ndarray, Text, tuple[Remark, ...]]:
    """Return texts as inputs. A row without a text, or with invalid Unicode, raises `BadInput`.

    Args:
        texts: The N texts.
        domain: The model's texts; None for the power of two that holds 95 % of these texts whole.

    Returns:
        Inputs (N, L) uint8, their domain, and a remark on texts that were cut.
    """
    strings = [_string(i, text) for i, text in enumerate(texts)]
    lengths = np.array([len(string.encode(errors="replace")) for string in strings])
    domain = domain or Text(length_of(lengths))
    x = domain.from_strings(strings, cut=True)
    return x, domain, _cut("texts cut", lengths, domain.length)


def from_tokens(rows: Sequence[Any], domain: Tokens | None) -> tuple[np.ndarray, Tokens, tuple[Remark, ...]]:
    """Return sequences of token numbers as inputs, padded and cut to the domain's length.

    A token that is no whole number, or outside the vocabulary, raises `BadInput`.

    Args:
        rows: N sequences of whole numbers, of any lengths.
        domain: The model's sequences; None describes them from the data.

    Returns:
        Inputs (N, L) int32, as they are stored, their domain, and a remark on sequences that were cut.
    """
    sequences = [_sequence(i, row) for i, row in enumerate(rows)]
    lengths = np.array([len(sequence) for sequence in sequences])
    domain = domain or Tokens(length_of(lengths), max(2, max(int(s.max(initial=0)) for s in sequences) + 1))
    x = np.full((len(sequences), domain.length), domain.padding, np.int64)
    for row, sequence in zip(x, sequences, strict=True):
        row[: len(sequence)] = sequence[: domain.length]
    domain.check(x)
    return domain.encode(x), domain, _cut("sequences cut", lengths, domain.length)


def length_of(lengths: np.ndarray) -> int:
    """Return the smallest power of two, at least 16, that holds 95 % of these lengths."""
    return max(LEAST, 1 << int(np.ceil(np.log2(max(1.0, float(np.quantile(lengths, SHARE, method="higher")))))))


def _cut(phrase: str, lengths: np.ndarray, length: int) -> tuple[Remark, ...]:
    count = int((lengths > length).sum())
    values = {"count": f"{count:,}", "n": f"{len(lengths):,}", "length": f"{length:,}"}
    return (Remark(phrase, values),) if count else ()


def _string(i: int, text: Any) -> str:
    if isinstance(text, bytes):
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"row {i + 1:,} with bytes that are no UTF-8", "texts in UTF-8", "encode them") from error
    if not isinstance(text, str):
        what = "without a text" if text is None else f"with {text!r}"
        raise BadInput(f"row {i + 1:,} {what}", "a text in each row", "leave it out, or write it")
    return text


def _sequence(i: int, row: Any) -> np.ndarray:
    try:
        numbers = np.asarray(row, np.float64).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if not (numbers == np.rint(numbers)).all():
        raise BadInput(f"row {i + 1:,} with {str(row)[:40]}", "a list of token numbers", "tokenize the texts")
    return numbers.astype(np.int64)
