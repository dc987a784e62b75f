"""Inputs that occur more than once are found by what counts as the same query, left out and said."""

import numpy as np
import pytest

from feint.data import Split
from feint.data.duplicates import without_repeats, without_shared
from feint.signature import Column, Columns, Text

COLUMNS = Columns((Column("x", optional=True), Column("y")))


def rows(*values, labels=None):
    labels = np.arange(len(values)) if labels is None else np.array(labels)
    return Split.of(np.array(values, np.float64), labels, domain=COLUMNS, name="credit")


def test_the_first_of_equal_inputs_stays():
    images = np.repeat(np.arange(4, dtype=np.uint8), 3)[:, None, None, None]
    split, (remark,) = without_repeats(Split.of(images, np.repeat(np.arange(4), 3), name="cats"))
    assert split.values.flatten().tolist() == [0, 1, 2, 3]
    assert split.labels.tolist() == [0, 1, 2, 3]
    assert remark.text() == "8 of 12 inputs occur earlier in cats and were left out."


def test_what_is_distinct_stays_itself():
    split = rows([1, 2], [3, 4])
    assert without_repeats(split) == (split, ())
    assert without_shared(split, rows([5, 6])) == (split, ())


def test_rows_are_equal_as_queries_are():
    split, _ = without_repeats(rows([1, 2], [1, 2 + 1e-12], [np.nan, 2], [np.nan, 2], [-0.0, 1], [0, 1]))
    assert len(split) == 3


def test_different_labels_of_one_input_are_said():
    split, remarks = without_repeats(rows([1, 2], [1, 2], [3, 4], labels=[0, 1, 1]))
    assert split.labels.tolist() == [0, 1]
    assert [remark.phrase for remark in remarks] == ["duplicates", "labels conflict"]


def test_a_pool_loses_what_is_a_sample_too():
    domain = Text(8)
    pool = Split.of(domain.from_strings(["a", "b", "c", "b"]), np.zeros(4, np.int64), domain=domain, name="pool")
    samples = Split.of(domain.from_strings(["b", "d"]), np.arange(2), domain=domain, name="samples")
    apart, (remark,) = without_shared(pool, samples)
    assert domain.to_strings(apart.values) == ["a", "c"]
    assert remark.text() == "2 of 4 inputs of pool are in samples too and were left out."
    assert len(without_shared(samples, samples)[0]) == 0


@pytest.mark.parametrize("n", [1, 5000])
def test_marks_of_many_inputs_are_computed_in_parts(n):
    split = rows(*([i, i % 7] for i in range(n)))
    assert without_repeats(split)[0] is split
