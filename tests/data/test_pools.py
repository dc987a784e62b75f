"""Pools by name: shares of a set, and sets joined."""

import numpy as np
import pytest
import torch

from feint.data import Split, load
from feint.data.pools import parse_pool
from feint.errors import BadInput


def test_a_share_of_a_pool_is_that_of_the_set():
    assert parse_pool("digits/train:1/3") == load("digits").train.share(1, 3)
    assert parse_pool("digits/pool") == load("digits").pool


@pytest.mark.parametrize("name", ["digits/test", "digits/test:0/2", "digits/train:0", "digits/train:a/b"])
def test_no_other_part_is_a_pool(name):
    with pytest.raises(BadInput, match="an attacker has no test set"):
        parse_pool(name)


def test_a_joined_pool_has_as_many_inputs_of_each_set_and_keeps_classes_apart():
    share, whole = parse_pool("digits/pool:0/4"), parse_pool("digits/train")
    joined = parse_pool("digits/pool:0/4+digits/train")
    half = len(share)
    assert len(joined) == 2 * half
    assert np.array_equal(joined.values[:half], share.values)
    assert {row.tobytes() for row in joined.values[half:]} <= {row.tobytes() for row in whole.values}
    assert joined.labels[:half].max() < joined.labels[half:].min()
    assert torch.equal(joined.labels[:half], share.labels)


def test_sets_of_other_shapes_are_not_joined(monkeypatch):
    wide = Split.of(np.zeros((5, 1, 8, 9), np.uint8), np.zeros(5, np.int64))
    monkeypatch.setattr("feint.data.pools.load_part", lambda name, part: wide if name == "wide" else load(name).pool)
    with pytest.raises(BadInput, match="one domain"):
        parse_pool("digits+wide")
