"""Features of a model: from the same pass as its logits, and refused where there are none."""

import threading

import pytest
import torch
from tests.support.problems import Linear
from torch import nn

from feint.errors import BadInput
from feint.victims import CachedForward, logits, penultimate


class Counted(nn.Module):
    """Two layers, which count their passes."""

    def __init__(self) -> None:
        super().__init__()
        self.passes, self.inner, self.head = 0, nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        self.passes += 1
        return self.head(self.inner(x).relu())


@torch.no_grad()
def test_features_are_what_the_last_linear_layer_reads():
    model, x = Counted().eval(), torch.rand(4, 6)
    assert torch.equal(penultimate(model, x), model.inner(x).relu())
    assert not model.head._forward_pre_hooks


def test_features_come_in_the_same_pass_as_logits():
    model, x = Counted().eval(), torch.rand(4, 6)
    cached = CachedForward(CachedForward(model))
    cached.read_features()
    logits(cached, x)
    features = penultimate(cached, x)
    assert model.passes == 1
    assert torch.equal(features, penultimate(model, x))


def test_threads_at_once_read_their_own_features():
    model = Counted().eval()
    inputs = [torch.full((n, 6), float(n)) for n in range(1, 9)]
    expected = [penultimate(model, x) for x in inputs]
    wrong = []

    def read(x, features):
        wrong.extend(i for i in range(200) if not torch.equal(penultimate(model, x), features))

    threads = [threading.Thread(target=read, args=pair) for pair in zip(inputs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_model_without_a_linear_layer_is_refused_with_a_remedy():
    with pytest.raises(BadInput, match="logits"):
        penultimate(Linear(6, 3), torch.rand(4, 6))


def test_a_layer_that_runs_twice_has_no_features():
    class Twice(Counted):
        def forward(self, x):
            return self.head(self.inner(x)) + self.head(self.inner(-x))

    with pytest.raises(BadInput, match="logits"):
        penultimate(Twice().eval(), torch.rand(4, 6))
