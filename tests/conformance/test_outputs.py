"""Contracts of output defenses, over everything that the room exports."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import examples
from tests.support.problems import Linear, edge_case_rows, order, simplex_rows
from torch import Tensor

from feint.defense import Bound
from feint.defenses.outputs import (
    APGP,
    KL,
    L1,
    L2,
    APGPClosedForm,
    Cosine,
    Output,
    ReverseKL,
)
from feint.errors import BadInput, BadRecipe
from feint.ledger import Ledger

CASES, IDENTITIES = examples.OUTPUT_CASES, examples.identities(examples.OUTPUTS)

HUNDRED, THOUSAND = (pytest.param(classes, marks=pytest.mark.slow) for classes in (100, 1000))
SIZES = 2, 3, 10, HUNDRED, THOUSAND


def inputs(p: Tensor) -> Tensor:
    """An input for each row, no two alike."""
    return torch.arange(4 * len(p)).remainder(256).div(255).reshape(-1, 1, 2, 2)


def on_a_line(defense: Output):
    """The defense as a service calls it: bound, where it depends on a ledger."""
    return defense.bind(Linear(), Ledger()) if isinstance(defense, Bound) else defense


def promised_ranks(defense: Output, classes: int) -> int:
    return {"order": classes, "label": 1, "": 0}.get(defense.preserves) or int(defense.preserves.partition("-")[2] or 0)


@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_stay_on_the_simplex_and_what_is_promised_stays_exactly(name, classes, dtype):
    p, defense = edge_case_rows(classes, dtype=dtype), examples.fitted_output(name, classes)
    q = defense(p.requires_grad_(), inputs(p))
    p = p.detach()
    assert q.shape == p.shape
    assert q.dtype == p.dtype
    assert q.device == p.device
    assert not q.requires_grad
    assert q.isfinite().all()
    assert (q >= 0).all()
    assert (q.double().sum(-1) - 1).abs().max() < 1e-4
    top = promised_ranks(defense, classes)
    read = torch.tensor(json.loads(json.dumps(q.float().tolist())), dtype=torch.float32)
    decimals = torch.tensor([[round(value, 6) for value in row] for row in read.tolist()], dtype=torch.float64)
    for where, rows in {"as it is": q, "after JSON": read, "after rounding to 6 decimals": decimals}.items():
        kept = torch.equal(order(rows)[:, :top], order(p)[:, :top])
        assert kept, f"{name} preserves {defense.preserves!r}, but not {where}"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@given(data=st.data(), classes=st.sampled_from([2, 3, 5]))
@settings(max_examples=60, deadline=None)
def test_ties_and_empty_batches(name, data, classes):
    p, defense = data.draw(simplex_rows(classes)), examples.fitted_output(name, classes)
    q = defense(p, inputs(p))
    assert q.shape == p.shape
    top = promised_ranks(defense, classes)
    assert torch.equal(order(q)[:, :top], order(p)[:, :top])


@pytest.mark.parametrize("classes", [2, 10, THOUSAND])
@pytest.mark.parametrize("name", CASES)
def test_a_batch_equals_its_rows_one_by_one(name, classes):
    p, defense = edge_case_rows(classes), examples.fitted_output(name, classes)
    x = inputs(p)
    whole, single = on_a_line(defense), on_a_line(defense)
    one_by_one = torch.cat([single(p[i : i + 1], x[i : i + 1]) for i in range(len(p))])
    torch.testing.assert_close(whole(p, x), one_by_one, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", IDENTITIES)
def test_strength_zero_is_the_identity(name):
    p = edge_case_rows(10)
    assert torch.equal(IDENTITIES[name](p, inputs(p)), p)


REFUSED = {
    "logits": torch.tensor([[-1.5, 0.5, 2.0, 0.0]]),
    "off the simplex": torch.full((4, 10), 0.2),
    "NaN": torch.full((4, 10), math.nan),
    "one row": torch.full((10,), 0.1),
    "whole numbers": torch.ones(4, 10, dtype=torch.int64),
    "half precision": torch.full((4, 10), 0.1, dtype=torch.float16),
    "negative": torch.tensor([[1.5, -0.5] + [0.0] * 8]),
}


@pytest.mark.parametrize("bad", REFUSED)
@pytest.mark.parametrize("name", CASES)
def test_anything_else_is_refused(name, bad):
    with pytest.raises(BadInput, match="expected"):
        examples.fitted_output(name, 10)(REFUSED[bad], inputs(REFUSED[bad]))


@pytest.mark.parametrize("name", ["APGP", "APGPClosedForm"])
def test_more_order_than_the_decimals_can_hold_is_refused(name):
    recipe = {"APGP": APGP, "APGPClosedForm": APGPClosedForm}[name](
        decimals=3, **({"steps": 1} if name == "APGP" else {})
    )
    recipe = recipe.fit_answers(edge_case_rows(100)) if name == "APGP" else recipe
    with pytest.raises(BadRecipe, match="more decimals"):
        recipe(edge_case_rows(100))


@pytest.mark.parametrize("decimals", [1, 2, 3, 4, 5, 6])
def test_the_order_shows_in_as_many_decimals_as_the_api_returns(decimals):
    classes = 4 if decimals == 1 else 10
    p = edge_case_rows(classes)
    q = APGPClosedForm(decimals=decimals)(p)
    rounded = torch.tensor([[round(value, decimals) for value in row] for row in q.tolist()])
    assert torch.equal(order(rounded), order(p))


def test_distances_agree_with_their_prefix_view():
    p = edge_case_rows(6).double()
    for distance in (KL(), ReverseKL(floor=1e-3), L1(), L2(), Cosine()):
        q = torch.ones(6, 6, dtype=torch.float64).tril()
        q = distance.floor + (1 - 6 * distance.floor) * q / q.sum(-1, keepdim=True)
        slow = torch.stack([distance(q, row.expand(6, 6)) for row in p])
        fast = distance.of_prefixes(p)
        assert torch.allclose(slow.gather(1, fast.argmax(-1, keepdim=True))[:, 0], slow.max(-1).values, atol=1e-9)


@pytest.mark.parametrize("top", [None, 1, 3])
def test_no_row_of_apgp_is_farther_than_its_budget(top):
    p = edge_case_rows(5).double()
    budgets = (0.1, 0.5, 1.0, 1.5, 2.0)
    far, near = APGPClosedForm(top=top)(p), APGPClosedForm(top=top, epsilon=budgets)(p)
    spent, cap = (near - p).abs().sum(-1), torch.tensor(budgets, dtype=torch.float64)[p.argmax(-1)]
    assert (spent <= cap + 1e-12).all()
    wanted = torch.minimum((far - p).abs().sum(-1), cap)
    assert (spent >= wanted - 1e-4).all()  # and it is used up where it is the limit


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (lambda: APGPClosedForm(epsilon=2.5), "at most 2"),
        (lambda: APGPClosedForm(epsilon=0), "above 0"),
        (lambda: APGPClosedForm(epsilon=(1.0, 1.0))(edge_case_rows(5)), "one a class"),
        (lambda: APGPClosedForm(epsilon=0.05)(edge_case_rows(300)), "raise epsilon"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(recipe, says):
    with pytest.raises(BadInput, match=says):
        recipe()
