"""Rows of a table are matched by name to the model's columns, or described from the data."""

import numpy as np
import pytest

from feint.data.tabular import described, from_rows
from feint.errors import BadInput, UnknownName
from feint.signature import Column, Columns

MODEL = Columns(
    (
        Column("age", integer=True),
        Column("job", ("cook", "nurse", "NA")),
        Column("score", optional=True),
        Column("hours"),
    )
)
TABLE = {"age": [30, 40], "job": ["nurse", "NA"], "score": [0.5, None], "hours": [7, 8]}
X = np.array([[30, 1, 0.5, 7], [40, 2, np.nan, 8]])


def phrases(remarks):
    return [remark.phrase for remark in remarks]


def test_columns_are_matched_by_name():
    x, domain, remarks = from_rows(TABLE, MODEL)
    assert np.array_equal(x, X, equal_nan=True)
    assert domain is MODEL
    assert remarks == ()


def test_another_order_and_more_columns_are_matched_and_said():
    table = {"hours": [7, 8], "note": ["a", "b"], **{name: TABLE[name] for name in ("score", "job", "age")}}
    x, _, remarks = from_rows(table, MODEL)
    assert np.array_equal(x, X, equal_nan=True)
    assert phrases(remarks) == ["columns left out", "columns in another order"]
    assert "'note'" in remarks[0].text()


def test_names_that_differ_in_case_and_punctuation_are_matched_and_said():
    table = {" Age": TABLE["age"], "JOB": TABLE["job"], "score": TABLE["score"], "hours": TABLE["hours"]}
    x, _, remarks = from_rows(table, MODEL)
    assert np.array_equal(x, X, equal_nan=True)
    assert phrases(remarks) == ["columns renamed"]


def test_missing_and_renamed_columns_are_refused_with_the_nearest_name():
    table = {name: values for name, values in TABLE.items() if name != "hours"}
    with pytest.raises(BadInput, match="no column 'hours'"):
        from_rows(table, MODEL)
    with pytest.raises(BadInput, match=r"no column 'hours', and the unknown 'ours'; .*did you mean 'ours'"):
        from_rows({**table, "ours": [1, 2]}, MODEL)


def test_columns_that_are_numbered_are_matched_by_position_and_said():
    numbered = Columns(tuple(Column(f"f{i}") for i in range(3)))
    x, _, remarks = from_rows({"Unnamed: 0": [0, 1, 2], "a": [1, 2, 2], "b": [3, 4, 4], "c": [5, 6, 6]}, numbered)
    assert x.tolist() == [[1, 3, 5], [2, 4, 6], [2, 4, 6]]
    assert phrases(remarks) == ["columns by position"]
    with pytest.raises(BadInput, match="no column"):
        from_rows({"a": [1], "b": [2]}, numbered)


def test_an_unknown_category_names_its_column():
    with pytest.raises(UnknownName, match=r"category of 'job': 'nurze'.*did you mean 'nurse'"):
        from_rows({**TABLE, "job": ["nurze", "cook"]}, MODEL)


def test_a_missing_value_is_refused_where_the_model_takes_none():
    with pytest.raises(BadInput, match="missing value of 'age'"):
        from_rows({**TABLE, "age": [30, None]}, MODEL)
    with pytest.raises(BadInput, match="'age' with a value that is no number"):
        from_rows({**TABLE, "age": ["thirty", "40"]}, MODEL)


@pytest.mark.parametrize("word", ["", "NaN", "null", " ", "?", float("nan"), None])
def test_words_for_a_missing_value(word):
    x, _, _ = from_rows({**TABLE, "score": ["0.5", word]}, MODEL)
    assert np.array_equal(x, X, equal_nan=True)


def test_a_category_is_itself_with_spaces_and_as_a_whole_float():
    domain = Columns((Column("code", ("1", "2"), optional=True), Column("job", ("cook", "nurse"))))
    x, _, _ = from_rows({"code": [1.0, float("nan")], "job": [" cook", "nurse "]}, domain)
    assert np.array_equal(x, [[0, 0], [np.nan, 1]], equal_nan=True)


@pytest.mark.parametrize(
    ("categories", "values"),
    [
        (("no", "True", "False"), [True, False]),
        (("1", "0"), [True, False]),
        (("1.0", "0.0"), [1, 0]),
        (("True", "False"), [1, 0]),
        (("98101", "01234", "00501"), [1234, 501]),  # as CSV is read
        (("00", "007"), [0.0, 7.0]),
    ],
)
def test_numbers_and_booleans_are_categories_as_the_model_spells_them(categories, values):
    x, _, _ = from_rows({"x": values}, Columns((Column("x", categories),)))
    assert x[:, 0].tolist() == [categories.index(name) for name in categories[-2:]]


def test_numbers_that_words_with_leading_zeros_became_are_refused_where_two_words_are_alike():
    domain = Columns((Column("zip", ("01234", "1234", "98101")),))
    assert from_rows({"zip": ["01234", "1234"]}, domain)[0].ravel().tolist() == [0, 1]
    assert from_rows({"zip": [98101]}, domain)[0].ravel().tolist() == [2]
    with pytest.raises(BadInput, match=r"the number 1234 for a column of the words '1234', '01234'.*Parquet"):
        from_rows({"zip": [98101, 1234]}, domain)


def test_data_describe_their_columns():
    table = {"age": [1, 2, None], "ok": [True, False, True], "job": ["b", "a", "b"], "x": [0.5, 1.5, 2.5]}
    x, domain, _ = from_rows(table, None)
    age, ok, job, number = domain.columns
    assert (age.categories, age.optional, age.integer, age.low, age.high) == (None, True, True, 1, 2)
    assert (ok.categories, job.categories) == (("False", "True"), ("a", "b"))
    assert (number.integer, number.mean) == (False, 1.5)
    assert np.array_equal(x, [[1, 1, 1, 0.5], [2, 0, 0, 1.5], [np.nan, 1, 1, 2.5]], equal_nan=True)


def test_columns_that_name_rows_are_left_out_and_said():
    table = {"Unnamed: 0": [0, 1, 2], "customer_id": [9, 7, 8], "name": ["Ann", "Bo", "Cy"], "x": [0.1, 0.2, 0.3]}
    x, domain, (remark,) = from_rows(table, None)
    assert domain.names == ("x",)
    assert x.shape == (3, 1)
    assert "'Unnamed: 0', 'customer_id', 'name'" in remark.text()
    _, domain, remarks = from_rows({"id": [1, 1, 2], "x": [1, 2, 3]}, None)  # an id that repeats may tell a class
    assert domain.names == ("id", "x")
    assert remarks == ()


def test_a_column_that_names_rows_stays_where_the_model_takes_it():
    domain = Columns((Column("id"), Column("x")))
    x, _, _ = from_rows({"id": [5, 6, 7], "x": [1, 2, 3]}, domain)
    assert x[:, 0].tolist() == [5, 6, 7]


def test_parts_of_a_set_share_categories_and_missing_values():
    domain = described({"job": ["b", "a"], "x": [1.0, 3.0]}, {"job": ["c", None], "x": [9.0, 9.0]})
    job, x = domain.columns
    assert (job.categories, job.optional) == (("a", "b", "c"), True)
    assert job.shares == (0.5, 0.5, 0.0)
    assert (x.mean, x.high) == (2.0, 3.0)
    with pytest.raises(BadInput, match="'y' in one part alone"):
        described({"x": [1]}, {"x": [1], "y": [2]})


def test_labels_alone_are_no_table():
    with pytest.raises(BadInput, match="labels alone"):
        from_rows({}, None)


@pytest.mark.parametrize("form", ["{:,.2f}", "€ {:.2f}", "{:.1f} %", "{:_.2f}"])
def test_numbers_with_separators_and_signs_are_refused_as_words(form):
    words = [form.format(1234.5 + 7 * i).replace("_", "'") for i in range(30)]
    with pytest.raises(BadInput, match=r"the column 'income' of words like .*; expected plain numbers"):
        from_rows({"income": words, "age": [*range(30)]}, None)
    with pytest.raises(BadInput, match="the column 'income' of words"):
        from_rows({"income": words}, Columns((Column("income"),)))
    bands = {"band": words[:3] * 10}
    assert from_rows(bands, None)[1].columns[0].categories == tuple(sorted(words[:3]))


def test_texts_of_plain_digits_are_no_numbers_with_separators():
    codes = [f"{1067 + i:05}" for i in range(30)] * 2
    assert from_rows({"zip": codes}, None)[1].columns[0].categories is not None
