"""Scores are told apart by their values."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from feint.models.simplex import finite_log, kind_of_scores, on_simplex

LOGITS = np.random.default_rng(0).normal(0, 3, (20, 4))
P = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        (LOGITS, "logits"),
        (-np.abs(LOGITS), "logits"),
        (np.zeros((20, 4)), "logits"),
        (P, "probabilities"),
        (P.round(3), "probabilities"),
        (np.log(P), "log-probabilities"),
        (1 / (1 + np.exp(-LOGITS)), "sigmoids"),
        (np.where(LOGITS > 0, 1.0, 0.0), "sigmoids"),
    ],
    ids=["logits", "negative", "constant", "probabilities", "rounded", "logarithms", "sigmoids", "several labels"],
)
def test_the_kind_of_scores(scores, kind):
    assert kind_of_scores(scores, 1e-2) == kind
    assert kind_of_scores(torch.from_numpy(scores).float(), 1e-2) == kind


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_logarithm_of_zero_is_that_of_the_least_number_of_its_type(dtype):
    p = torch.tensor([[0.0, 0.25, 0.75]], dtype=dtype)
    z = finite_log(p)
    assert z.dtype == dtype
    assert z[0, 0].item() == pytest.approx(np.log(torch.finfo(dtype).tiny))
    assert torch.equal(z[:, 1:], p[:, 1:].log())


@given(
    st.lists(st.sampled_from([0.0, 1e-9, 0.25, 0.5, 0.5009, 0.502, 1.0, -1e-9, np.nan, np.inf, -np.inf]), min_size=1),
    st.sampled_from([np.float32, np.float64]),
)
def test_one_row_is_judged_as_many_are(row, dtype):
    one = np.array([row], dtype)
    with np.errstate(invalid="ignore"):
        assert on_simplex(one) == on_simplex(np.concatenate([one, one]))
