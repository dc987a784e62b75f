"""The contracts of domains, over every one there is."""

import json

import numpy as np
import pytest
import torch
from tests.examples import DOMAINS

from feint import signature
from feint.data import Split
from feint.errors import BadInput, UnknownName
from feint.query import Query
from feint.signature import Column, Columns, Text, Tokens, domain_like, mark, near
from feint.signature.domain import NEAR_BITS, NEAR_DISTANCE
from feint.signature.pixels import low_frequencies
from feint.transcript import Transcript

CASES = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)


def test_every_domain_has_an_example_and_a_type_of_its_own():
    assert {type(domain) for domain in DOMAINS.values()} == {*signature.DOMAINS.values()}
    assert len({domain.dtype for domain in DOMAINS.values()}) == len(DOMAINS)


@CASES
@pytest.mark.parametrize("published", [True, False])
def test_samples_are_of_the_domain_and_come_again(domain, published):
    x = domain.sample(40, 3, published=published)
    domain.check(x)
    assert len(x) == 40
    assert len({*mark(x)}) > 1
    assert mark(x) == mark(domain.sample(40, 3, published=published))
    assert mark(x) != mark(domain.sample(40, 4, published=published))


@CASES
def test_clipped_numbers_are_of_the_domain(domain):
    x = np.random.default_rng(0).normal(0, 300, (30, *domain.shape))
    x.flat[::7] = np.nan
    x.flat[::11] = np.inf
    domain.check(domain.clip(x))
    inside = domain.sample(30, 0)
    assert mark(domain.clip(inside)) == mark(inside)


@CASES
def test_usual_ranges_are_finite(domain):
    low, high = domain.usual_range()
    assert low.shape == high.shape == domain.shape
    assert np.isfinite([low, high]).all()
    assert (low <= high).all()


@pytest.mark.parametrize(
    ("column", "ends"),
    [
        (Column("x", low=0, high=9), (0, 9)),
        (Column("x", low=0, mean=4, deviation=2), (0, 10)),
        (Column("x", integer=True, mean=100.4, deviation=5), (85, 115)),
        (Column("x", ("a", "b", "c"), optional=True), (0, 2)),
        (Column("x"), (-3, 3)),
    ],
    ids=["published", "one end", "whole", "categories", "nothing"],
)
def test_the_usual_range_of_a_column(column, ends):
    assert Columns((column,)).usual_range().ravel().tolist() == pytest.approx(ends)


@CASES
def test_another_type_and_another_shape_are_refused(domain):
    x = domain.sample(2, 0)
    with pytest.raises(BadInput, match="expected"):
        domain.check(x.astype(np.float16))
    with pytest.raises(BadInput, match="expected"):
        domain.check(np.concatenate([x, x], -1))


@CASES
def test_marks_survive_json_and_bytes(domain):
    x = domain.sample(20, 1)
    again = np.array(json.loads(json.dumps(x.tolist())), domain.dtype)
    assert mark(again) == mark(x)
    assert mark(np.frombuffer(x.tobytes(), domain.dtype).reshape(x.shape)) == mark(x)


@CASES
def test_marks_forget_the_last_bit_of_a_float(domain):
    if domain.dtype.kind != "f":
        pytest.skip("has no floats")
    x = domain.sample(20, 2)
    assert mark(np.nextafter(x, domain.dtype.type(1e9))) == mark(x)


@CASES
def test_near_codes_are_alike_for_one_input_and_differ_for_two(domain):
    x = domain.sample(60, 5)
    codes = near(x)
    assert (codes < 2**NEAR_BITS).all()
    assert np.array_equal(codes, near(x.copy()))
    assert len({*codes.tolist()}) > len(x) // 2


def test_near_copies_have_near_codes(digits):
    random, x = np.random.default_rng(0), digits.test.inputs().numpy()
    for changed in (x * 0.9, (x + random.normal(0, 0.01, x.shape)).clip(0, 1)):
        bits = np.bitwise_count(near(x) ^ near(changed.astype(np.float32)))
        assert (bits <= NEAR_DISTANCE).mean() > 0.97
    among = np.bitwise_count(near(x)[:, None] ^ near(x)[None])
    assert (among[~np.eye(len(x), dtype=bool)] <= NEAR_DISTANCE).mean() < 1e-3
    text = Text(20)
    assert len({*near(text.from_strings(["Hi, there!", "hi there", "HI  THERE"])).tolist()}) == 1


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 32)])
def test_low_frequencies_are_those_of_the_cosine_transform_of_the_grey_image(shape):
    x = np.random.default_rng(1).random((2, *shape), np.float32)
    cosines = np.cos(np.pi * np.arange(8)[:, None] * (2 * np.arange(32) + 1) / 64)
    np.testing.assert_allclose(low_frequencies(x).reshape(2, 8, 8), cosines @ x.mean(1) @ cosines.T, atol=1e-3)


def test_low_frequencies_know_rows_from_columns():
    x = np.random.default_rng(1).random((2, 3, 20, 70), np.float32)
    turned = low_frequencies(x.transpose(0, 1, 3, 2)).reshape(2, 8, 8)
    np.testing.assert_allclose(low_frequencies(x).reshape(2, 8, 8), turned.transpose(0, 2, 1), atol=1e-3)
    np.testing.assert_allclose(low_frequencies(x)[:, 0], 32 * 32 * x.mean((1, 2, 3)), rtol=0.05)  # the sum of the grey


@CASES
def test_stored_inputs_come_back(domain):
    x = domain.sample(9, 0)
    split = Split.of(domain.encode(x), np.arange(9) % 2, domain=domain)
    assert mark(split.inputs().numpy()) == mark(x)
    assert split.take(np.array([3]), part="one").domain == domain


@CASES
def test_a_query_takes_them_and_a_transcript_knows_them_again(domain):
    x = torch.from_numpy(domain.sample(9, 0))
    assert domain_like(Query(x).values).dtype == domain.dtype
    transcript = Transcript()
    transcript.record(x, torch.full((9, 2), 0.5))
    assert transcript.remembered(x[3:5], 3) is not None
    with pytest.raises(BadInput, match="query 4 is not the recorded one"):
        transcript.remembered(x[4:5], 3)
    transcript.keep_answers_only()
    assert transcript.remembered(x[3:5], 3) is not None
    with pytest.raises(BadInput, match="query 4 is not the recorded one"):
        transcript.remembered(x[4:5], 3)


def test_columns_are_matched_by_name():
    domain = DOMAINS["Columns"]
    table = {"city": ["Wien", "京都"], "income": [None, 1.5], "member": [True, None], "age": [20, "31"]}
    x = domain.from_table(table)
    assert x[0].tolist()[2:] == [1, 1]
    assert np.isnan(x[0, 1])
    assert domain.to_table(x)["city"] == ["Wien", "京都"]
    for name, values, says in (
        ("city", ["Paris", "Wien"], "'Paris'"),
        ("age", ["old", 1], "'age'"),
    ):
        with pytest.raises(BadInput, match=says):
            domain.from_table(table | {name: values})
    with pytest.raises(BadInput, match="no column 'age' and the unknown column 'Age'"):
        domain.from_table({("Age" if name == "age" else name): values for name, values in table.items()})


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([np.nan, 1, 0, 0], "missing value of 'age'"),
        ([20, np.inf, 0, 0], "infinite value of 'income'"),
        ([20, 1, 3, 0], "code of 'city'"),
        ([20, 1, 0.5, 0], "code of 'city'"),
    ],
)
def test_a_value_outside_its_column_is_named(row, says):
    with pytest.raises(BadInput, match=says):
        DOMAINS["Columns"].check(np.array([row], float))


def test_described_columns_publish_what_a_table_shows():
    domain = Columns.describe({"n": [1, 2, 4], "c": ["b", "a", "b"], "f": [0.5, None, 1.5], "t": [True, False, True]})
    n, c, f, t = domain.columns
    assert (n.integer, n.low, n.high, n.mean) == (True, 1, 4, pytest.approx(7 / 3))
    assert (c.categories, c.shares) == (("a", "b"), (pytest.approx(1 / 3), pytest.approx(2 / 3)))
    assert (f.optional, f.missing, f.integer) == (True, pytest.approx(1 / 3), False)
    assert t.categories == ("False", "True")


def test_texts_are_utf8():
    text = Text(12)
    assert text.to_strings(text.from_strings(["naïve", "日本語", ""])) == ["naïve", "日本語", ""]
    assert text.to_strings(text.from_strings(["日本語日本語"], cut=True)) == ["日本語日"]
    with pytest.raises(BadInput, match="18 bytes"):
        text.from_strings(["日本語日本語"])
    x = text.from_strings(["naïve"])
    x[0, 3] = 0
    with pytest.raises(BadInput, match=r"UTF-8|zero byte"):
        text.check(x)
    with pytest.raises(BadInput, match="surrogate"):
        text.from_strings(["\ud800"])


def test_tokens_outside_the_vocabulary_are_refused():
    with pytest.raises(BadInput, match="from 0 to 49"):
        Tokens(2, 50).check(np.array([[1, 50]]))


def test_a_list_in_a_column_of_categories_is_no_category():
    with pytest.raises(UnknownName, match="category of 'x'"):
        Columns((Column("x", ("a", "b")),)).from_table({"x": ["a", ["b"]]})


def test_an_integer_that_a_float_cannot_hold_is_refused():
    with pytest.raises(BadInput, match="an integer beyond float64"):
        Columns((Column("x"), Column("y"))).from_tensors({"x": np.array([2**53 + 1]), "y": np.array([1])})
