"""Labels as owners write them become classes of the model, or are refused with the reason."""

import numpy as np
import pytest

from feint.data.labels import assignments, class_names, label_column, read_labels, united
from feint.errors import BadInput, UnknownName

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
AS_SCIKIT_LEARN = tuple(sorted(WORDS))


def classes_of(values, classes=None, names=None):
    labels = read_labels(values, names)
    return assignments(labels, classes)[0].of(labels).tolist()


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 2, 1], [0.0, 1.0, 2.0, 1.0], ["0", "1", "2", "1"], np.array([0, 1, 2, 1], np.uint8),
        np.array([0.0, 1, 2, 1], np.float32), np.array([[0], [1], [2], [1]]), np.eye(3)[[0, 1, 2, 1]],
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]], np.array(["0", "1", "2", "1"]),
    ],
    ids=["int", "whole floats", "digits", "uint8", "float32", "column", "one-hot", "one-hot lists", "strings"],
)  # fmt: skip
def test_numbers_of_any_type_are_the_classes(values):
    assert classes_of(values, 3) == [0, 1, 2, 1]


def test_booleans_are_two_classes_even_where_one_is_absent():
    assert classes_of([True, False, True], 2) == [1, 0, 1]
    assert classes_of([True, True], 2) == [1, 1]
    assert classes_of(np.array([True, False]), ("no", "yes")) == [1, 0]


def test_labels_from_one_are_the_first_class_on():
    labels = read_labels([1, 2, 10])
    assert [option.rule for option in assignments(labels, 10)] == ["number from 1"]
    assert classes_of([1, 2, 10], 10) == [0, 1, 9]
    assert classes_of([1, 2, 1]) == [0, 1, 0]


def test_labels_from_one_whose_last_class_is_absent_have_both_assignments():
    labels = read_labels(range(1, 10))
    options = {option.rule: option.classes for option in assignments(labels, 10)}
    assert options["number"] == tuple(range(1, 10))
    assert options["number from 1"] == tuple(range(9))


def test_names_count_before_order():
    assert classes_of(WORDS, AS_SCIKIT_LEARN) == [AS_SCIKIT_LEARN.index(word) for word in WORDS]
    assert classes_of([1, 2], ("1", "2")) == [0, 1]
    assert classes_of([1, 10, 2], ("1", "10", "2")) == [0, 1, 2]  # a model trained on directories sorted as text


@pytest.mark.parametrize("label", ["caf\u00e9", "cafe\u0301", " CAFÉ "], ids=["composed", "decomposed", "case"])
def test_a_name_is_the_same_in_another_unicode_form_or_case(label):
    assert classes_of([label, "茶"], ("茶", "café")) == [1, 0]


def test_names_of_any_script_keep_the_order_of_the_model():
    assert classes_of(["飞机", "汽车", "鸟"], ("飞机", "汽车", "鸟")) == [0, 1, 2]


def test_directories_1_to_10_are_in_natural_order_and_may_be_in_text_order():
    names = [str(i) for i in range(1, 11)]
    labels = read_labels(names)
    assert labels.names == tuple(names)
    options = {option.rule: option.classes for option in assignments(labels, 10)}
    assert options["number from 1"] == tuple(range(10))
    assert options["text order"] == tuple(sorted(names).index(name) for name in names)
    mixed = read_labels(["b10", "b9", "a"])
    assert mixed.names == ("a", "b9", "b10")


def test_words_without_names_of_the_model_are_in_order():
    labels = read_labels(["spam", "ham", "spam"])
    (option,) = assignments(labels, 2)
    assert (option.rule, option.of(labels).tolist()) == ("order", [1, 0, 1])
    assert class_names(labels, option) == ("ham", "spam")


def test_numbers_of_some_of_the_classes_stay_these_classes():
    labels = read_labels([5, 2, 5])
    option = assignments(labels, 7)[0]
    assert option.of(labels).tolist() == [5, 2, 5]
    assert class_names(labels, option, 7) == ("0", "1", "2", "3", "4", "5", "6")


def test_classes_that_a_file_lists_keep_their_order():
    assert classes_of([1, 0], 2, names=("pos", "neg")) == [1, 0]
    assert classes_of(["neg", "pos"], 2, names=("pos", "neg")) == [1, 0]
    assert classes_of([1, 0], ("neg", "pos"), names=("pos", "neg")) == [0, 1]
    with pytest.raises(BadInput, match="label '-1'"):
        read_labels([0, -1], ("pos", "neg"))


def test_an_empty_class_counts_where_the_model_has_it():
    labels = read_labels(["a", "c"])
    with_empty = type(labels)(labels.names, labels.codes, absent=("b",))
    assert assignments(with_empty, 3)[0].of(with_empty).tolist() == [0, 2]
    assert assignments(with_empty, 2)[0].of(with_empty).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, None, 1, None], "2 rows without a label, the first of them row 2"),
        ([0.0, float("nan")], "1 rows without a label"),
        (["a", ""], "without a label"),
        ([0.5, 1.0], "the label 0.5.*not regression"),
        (np.linspace(0, 1, 50), "regression"),
        (np.array([[1, 1, 0], [0, 0, 1]]), "one-hot"),
        (np.array([[0.2, 0.8], [0.5, 0.5]]), "one-hot"),
        ([[0], [1, 2]], "one-hot"),
    ],
)
def test_labels_that_are_no_classes_are_refused(values, message):
    with pytest.raises(BadInput, match=message):
        read_labels(values)


def test_more_labels_than_classes_usually_have_are_refused_unless_the_model_knows_them():
    labels = read_labels(range(5000))
    with pytest.raises(BadInput, match=r"5,000 different labels in 5,000 rows.*not regression"):
        assignments(labels)
    with pytest.raises(BadInput, match="labels of the model's 2 classes"):
        assignments(labels, 2)
    assert assignments(labels, 5000)[0].rule == "number"
    assert assignments(labels, tuple(map(str, range(6000))))[0].rule == "name"


def test_labels_that_the_model_cannot_give_are_refused():
    with pytest.raises(UnknownName, match=r"label 'catt'.*did you mean 'cat'"):
        assignments(read_labels(["catt", "dog"]), ("cat", "dog"))
    with pytest.raises(BadInput, match=r"3 different labels .*2 classes"):
        assignments(read_labels(["a", "b", "c"]), 2)
    with pytest.raises(BadInput, match="10 classes"):
        assignments(read_labels(["cat", "dog"]), 10)


def test_the_label_column_has_a_usual_name_in_any_case():
    assert label_column(["age", "Class", "y"]) == "Class"
    assert label_column(["y", "label"]) == "label"
    assert label_column(["class", "income"], "income") == "income"
    assert label_column(["class", "y"], inputs=("class",)) == "y"
    assert label_column(["a", "b"]) is None
    with pytest.raises(UnknownName, match="did you mean 'income'"):
        label_column(["age", "income"], "incom")


def test_parts_share_the_names_of_all():
    train, test = united([read_labels(["b", "a"]), read_labels(["c", "a"])])
    assert train.names == test.names == ("a", "b", "c")
    assert (train.codes.tolist(), test.codes.tolist()) == ([1, 0], [2, 0])
