"""Functions of the owner: what they may return, and what is refused."""

import importlib
import linecache
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from feint.errors import BadInput
from feint.victims.formats.function import FunctionModel

TEXTS = {"x": np.array(["good", "bad", "good day"], dtype=object)}


def answers(function):
    return FunctionModel(function, "owner:score").run(TEXTS)["y"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [{"no": 0.1, "yes": 0.9}] * len(x),
        lambda x: [{"yes": 0.9, "no": 0.1}] * len(x),
        lambda x: pd.DataFrame([{"yes": 0.9, "no": 0.1}] * len(x)),
        lambda x: [[0.1, 0.9]] * len(x),
        lambda x: ((0.1, 0.9) for _ in x),
        lambda x: torch.tensor([[0.1, 0.9]] * len(x)),
    ],
)
def test_scores_come_in_any_container(function):
    assert answers(function) == pytest.approx(np.array([[0.1, 0.9]] * 3))


def test_keys_of_scores_are_the_names_of_the_classes():
    model = FunctionModel(lambda x: [{"yes": 0.9, "no": 0.1}] * len(x), "owner:score")
    model.run(TEXTS)
    assert model.metadata.classes == ("no", "yes")


def test_scores_of_other_classes_than_before_are_refused():
    model = FunctionModel(lambda x: [{text[:3]: 0.9, "no": 0.1} for text in x], "owner:score")
    model.run({"x": TEXTS["x"][:1]})
    with pytest.raises(BadInput, match=r"not all of which have a score for bad, goo; .*score\.classes = "):
        model.run({"x": TEXTS["x"][1:2]})


def test_scores_of_stated_classes_may_be_left_out():
    def score(x):
        return [{text: 0.8} for text in x]

    score.classes = ["bad", "good", "good day"]  # pyright: ignore[reportFunctionMemberAccess]
    assert answers(score) == pytest.approx(np.array([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]]))


def test_a_score_of_no_stated_class_is_refused():
    def score(x):
        return [{text: 0.8} for text in x]

    score.classes = ["bad", "good"]  # pyright: ignore[reportFunctionMemberAccess]
    with pytest.raises(BadInput, match=r"some of which have a score for good day; .*; add them to score\.classes"):
        answers(score)


def test_logits_may_not_be_left_out():
    def score(x):
        return [{text: 8.0} for text in x]

    score.classes = ["bad", "good", "good day"]  # pyright: ignore[reportFunctionMemberAccess]
    with pytest.raises(BadInput, match=r"no probabilities; .*; return all"):
        answers(score)


@pytest.mark.parametrize(("stated", "known"), [(("yes", "no"), ("no", "yes")), (("deny", "allow"), ("deny", "allow"))])
def test_names_of_scores_come_before_an_order_that_the_owner_states(stated, known):
    model = FunctionModel(lambda x: [{"yes": 0.9, "no": 0.1}] * len(x), "owner:score")
    model.metadata = replace(model.metadata, classes=stated, named=True)
    assert model.run(TEXTS)["y"][0] == pytest.approx([0.1, 0.9])
    assert model.metadata.classes == known


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [(text, 0.9) for text in x],  # labels with their scores
        lambda x: [[0.1, 0.9], [1.0], [0.2, 0.8]],
        lambda x: [{"no": 1.0}, "yes", "no"],
        lambda x: None,
        lambda x: 0.5,
        lambda x: {"yes": 0.9, "no": 0.1},
        lambda x: [[0.1, 0.9]],
    ],
)
def test_what_is_no_answer_for_each_input_is_refused(function):
    with pytest.raises(BadInput, match="return one for each input"):
        answers(function)


SOURCE = "FILE = '{version}.bin'\ndef score(texts): return [[0.1, 0.9]] * len(texts)\n"
PRICE = "score.price_per_1000, score.classes, score.values = 5, ['no', 'yes'], 'probabilities'\n"


@pytest.mark.parametrize(("more", "same"), [("", False), (PRICE, True)], ids=["free", "paid"])
def test_a_change_beside_a_function_is_another_model_unless_its_answers_were_paid_for(
    more, same, tmp_path, monkeypatch
):
    digests = []
    monkeypatch.syspath_prepend(tmp_path)
    for version in ("1", "22"):
        (tmp_path / "owners_score.py").write_text(SOURCE.format(version=version) + more)
        monkeypatch.delitem(sys.modules, "owners_score", raising=False)
        linecache.checkcache()
        importlib.invalidate_caches()
        digests.append(FunctionModel(importlib.import_module("owners_score").score, "owners_score:score").digest)
    assert (digests[0] == digests[1]) is same
