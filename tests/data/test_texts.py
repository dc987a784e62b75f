"""Texts and sequences of tokens: their length, and what is cut."""

import numpy as np
import pytest

from feint.data.texts import from_texts, from_tokens
from feint.errors import BadInput
from feint.signature import Text, Tokens


def test_the_length_holds_95_percent_whole_and_the_rest_is_cut_and_said():
    texts = ["a" * 20] * 96 + ["é" * 40] * 4
    x, domain, (remark,) = from_texts(texts, None)
    assert domain == Text(32)
    assert domain.to_strings(x[-1:]) == ["é" * 16]
    assert "4 of 100 texts are longer than 32 bytes" in remark.text()
    assert remark.text("zh")


def test_the_models_length_counts():
    x, domain, remarks = from_texts(["short", "longer than it"], Text(8))
    assert domain.to_strings(x) == ["short", "longer t"]
    assert len(remarks) == 1
    assert from_texts(["short"], Text(8))[2] == ()


def test_scripts_of_any_kind_and_bytes_in_utf8():
    x, domain, _ = from_texts(["茶", "naïve 🙂".encode(), ""], None)
    assert domain.to_strings(x) == ["茶", "naïve 🙂", ""]
    domain.check(x)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "row 2 without a text"), (3, "row 2 with 3"), (b"caf\xe9", "row 2 .*UTF-8"), ("\ud800", "surrogate")],
)
def test_what_is_no_text_is_refused(text, message):
    with pytest.raises(BadInput, match=message):
        from_texts(["good", text], None)


def test_lists_of_tokens_are_padded_and_cut():
    x, domain, (remark,) = from_tokens([[5, 6], [1, 2, 3, 4]], Tokens(3, 10, padding=9))
    assert x.tolist() == [[5, 6, 9], [1, 2, 3]]
    assert x.dtype == domain.stored
    assert "1 of 2 sequences are longer than 3 tokens" in remark.text()
    x, domain, _ = from_tokens([[5, 6], [1.0, 2.0, 7.0]], None)
    assert domain == Tokens(16, 8)
    assert x.shape == (2, 16)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, 10], "tokens from 0 to 10; expected numbers from 0 to 9"), ([-1], "tokens from -1"),
        ([0.5], "list of token numbers"), (["a"], "list of token numbers"), (None, "list of token numbers"),
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(row, message):
    with pytest.raises(BadInput, match=message):
        from_tokens([[1], row], Tokens(4, 10))


def test_arrays_are_sequences():
    x, _, _ = from_tokens([*np.arange(6, dtype=np.int32).reshape(2, 3)], Tokens(3, 6))
    assert np.array_equal(x, np.arange(6).reshape(2, 3))
