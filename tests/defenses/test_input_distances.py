"""Distances of detectors, each against the obvious slow way."""

import math

import numpy as np
import pytest
import torch
from tests.examples import DOMAINS

from feint.defenses.features import Features, minhash, ngrams, simhash, values
from feint.defenses.input_distances import DISTANCES, Euclidean, Gower, Jaccard, distance_in
from feint.signature import Column, Columns, Text, Tokens, mark

TABLE = Columns((
    Column("age", low=0, high=50), Column("income", optional=True), Column("city", ("a", "b", "c"), optional=True)
))  # fmt: skip
ROWS = torch.tensor(
    [[10, 100.0, 0], [20, 300.0, 0], [90, math.nan, 2], [10, math.nan, math.nan], [10, 100.0, 0]], dtype=torch.float64
)


def between(distance, x: torch.Tensor) -> torch.Tensor:
    return distance.between(distance.rows(x), distance.rows(x))


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_equal_inputs_have_no_distance_and_others_have_the_same_both_ways(domain):
    x = torch.from_numpy(domain.sample(30, 5))
    x = torch.cat([x, x.flip(0)])
    distance = between(distance_in(domain), x)
    same = torch.tensor([[a == b for b in mark(x.numpy())] for a in mark(x.numpy())])
    assert torch.equal(distance, distance.T)
    assert (distance[same] == 0).all()
    assert (distance[~same] > 0).all()
    assert distance.isfinite().all()


def test_every_domain_has_a_distance_and_a_new_one_the_default():
    assert {type(domain) for domain in DOMAINS.values()} == {*DISTANCES}

    class Other(Tokens):
        """A domain that nobody knows."""

    assert isinstance(distance_in(Other(4, 5)), Euclidean)


def test_gower_is_the_mean_over_the_columns():
    distance = between(distance_in(TABLE), ROWS)
    assert distance[0, 1].item() == pytest.approx((10 / 50 + 200 / 400 + 0) / 3)
    assert distance[0, 2].item() == pytest.approx((1 + 1 + 1) / 3)  # beyond the range, missing, another category
    assert distance[0, 3].item() == pytest.approx((0 + 1 + 1) / 3)
    assert distance[2, 3].item() == pytest.approx((1 + 0 + 1) / 3)  # two missing values are alike
    assert distance[0, 4] == 0


def exact(a: bytes, b: bytes, n: int) -> float:
    """Jaccard's distance of the n-grams, the first of which begin before the sequence."""
    left, right = ({tuple([-1] * (n - 1) + [*row])[i : i + n] for i in range(len(row))} for row in (a, b))
    return 1 - len(left & right) / len(left | right) if left | right else 0.0


def test_minhash_estimates_jaccards_distance():
    domain = Text(120)
    texts = [
        "the quick brown fox jumps over the lazy dog" * 2,
        "the quick brown fox jumped over a lazy dog",
        "a",
        "",
        "ab",
    ]
    texts += [texts[0][:k] for k in (20, 40, 60)]
    distance = between(Jaccard(domain), torch.from_numpy(domain.from_strings(texts)))
    expected = torch.tensor([[exact(a.encode(), b.encode(), 4) for b in texts] for a in texts])
    assert (distance - expected).abs().max() < 0.15
    assert (distance - expected).abs().mean() < 0.03
    assert distance[3, 3] == 0  # an empty text
    assert distance[3, 0] == 1


def test_padding_is_no_token():
    domain = Tokens(6, 9, padding=4)
    x = torch.tensor([[1, 2, 3, 4, 4, 4], [1, 2, 4, 3, 4, 4], [4, 4, 4, 4, 4, 4]])
    features = ngrams(x.numpy(), 2, 4)
    assert features.present.sum(1).tolist() == [3, 4, 0]
    longer = ngrams(torch.nn.functional.pad(x, (0, 5), value=4).numpy(), 2, 4)
    assert np.array_equal(minhash(longer), minhash(features))
    assert isinstance(distance_in(domain), Jaccard)


def test_a_row_of_a_table_is_stored_as_it_counts():
    rows = Gower(TABLE).rows(ROWS)
    assert rows.dtype == torch.float32
    assert np.array_equal(rows.numpy().tobytes(), TABLE.canonical(ROWS.numpy()).tobytes())


def test_hashes_of_things_that_look_alike_are_near():
    text = Text(200)
    base = "Honest clients ask about texts of their own, and an attacker changes one word of them at a time. " * 2
    near, far = base.replace("one word", "two words", 1), base[::-1]
    bits = simhash(ngrams(text.from_strings([base, near, far]), 4))
    assert (bits[0] != bits[1]).sum() < 12 < (bits[0] != bits[2]).sum()
    rows = np.array([[123.4, 5.0, np.nan, 0.0], [123.0, 5.01, np.nan, -0.0], [456.0, 7.0, 1.0, 2.0]])
    bits = simhash(values(rows))
    assert (bits[0] == bits[1]).all()
    assert (bits[0] != bits[2]).sum() > 12
    assert not simhash(Features(np.ones((1, 3), np.uint64), np.zeros((1, 3), bool))).any()
