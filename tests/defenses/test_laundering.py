"""Information laundering: a case done by hand, and what must hold of every solution."""

import math
from itertools import pairwise

import pytest
import torch
from tests.support.problems import edge_case_rows
from torch import nn

from feint.defenses.inputs import InputLaundering
from feint.defenses.laundering import Problem, divergence, launder, objective
from feint.defenses.outputs import InformationLaundering
from feint.errors import BadInput, NotFitted

EVEN = torch.tensor([0.5, 0.5])
PRICE = 4 / (3 * math.log(3))


def rows(n: int, k: int, seed: int) -> torch.Tensor:
    return (torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2).softmax(-1)


@pytest.mark.parametrize("side", ["input", "output"])
def test_two_symbols_by_hand(side):
    """Two even symbols with certain labels; by symmetry the kernel confuses them with some probability e, and
    L = −log(1 − e) + β (log 2 − H(e)) is least where (1 − e)/e = exp(1 / (β (1 − e))): e = 1/4 at β = 4 / (3 log 3).
    """
    prices = {"input": (PRICE, 0.0), "output": (0.0, PRICE)}[side]
    kernels = launder(Problem(torch.eye(2), EVEN, *prices))
    kernel = kernels.input if side == "input" else kernels.output
    torch.testing.assert_close(kernel, torch.tensor([[0.75, 0.25], [0.25, 0.75]]).double(), atol=1e-5, rtol=0)
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert kernels.objective[-1] == pytest.approx(-math.log(0.75) + PRICE * (math.log(2) - entropy), abs=1e-9)


@pytest.mark.parametrize("prices", [(0.3, 0.0), (0.0, 0.3), (0.2, 0.4), (5.0, 5.0), (0.01, 0.01)], ids=str)
def test_the_objective_never_rises_and_no_neighbour_is_better(prices):
    problem = Problem(rows(6, 4, 0), rows(1, 6, 1)[0], *prices)
    kernels = launder(problem)
    assert all(after <= before for before, after in pairwise(kernels.objective))
    assert kernels.objective[-1] < kernels.objective[0]
    least, g = kernels.objective[-1], torch.Generator().manual_seed(2)
    for _ in range(50):
        for size in (1e-3, 0.1):
            moved = []
            for kernel in (kernels.input, kernels.output):
                if kernel is not None:
                    noise = torch.rand(kernel.shape, generator=g, dtype=torch.float64)
                    kernel = torch.lerp(kernel, noise / noise.sum(-1, keepdim=True), size)
                moved.append(kernel)
            a, b = moved[0], moved[1] if prices[1] else kernels.output
            assert objective(problem, a, kernels.output) >= least - 1e-7
            assert objective(problem, kernels.input, b) >= least - 1e-7


def slow(p: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, prices: tuple) -> torch.Tensor:
    """L, summed symbol by symbol from its definition."""
    service = torch.einsum("xz,zm,my->xy", a, p, b)
    loss = (weight[:, None] * p * (p / service).log()).sum()
    joint, middle = weight[:, None] * a, torch.einsum("x,xz,zm->m", weight, a, p)
    input_nats = (joint * (joint / (weight[:, None] * joint.sum(0))).log()).sum()
    pair = middle[:, None] * b
    output_nats = (pair * (pair / (middle[:, None] * pair.sum(0))).log()).sum()
    return loss + prices[0] * input_nats + prices[1] * output_nats


def test_the_objective_is_stationary_in_both_kernels_at_the_end():
    """Its derivative, taken by autograd from the definition, is the same for all entries of a row."""
    p, weight, prices = rows(6, 4, 0), rows(1, 6, 1)[0], (0.2, 0.2)
    kernels = launder(Problem(p, weight, *prices), rounds=5000, tolerance=1e-15)
    a, b = kernels.input.clone().requires_grad_(), kernels.output.clone().requires_grad_()
    value = slow(p, weight, a, b, prices)
    assert value.item() == pytest.approx(kernels.objective[-1], abs=1e-9)
    for slope, kernel in zip(torch.autograd.grad(value, (a, b)), (a, b), strict=True):
        spread = slope - (slope * kernel).sum(-1, keepdim=True)
        assert (spread * kernel).abs().max() < 1e-4


def test_a_higher_price_leaks_less():
    p = edge_case_rows(6)
    nats = []
    for price in (0.01, 0.1, 1.0, 10.0):
        b = InformationLaundering(price).fit_answers(p).kernel.tensors["output"]
        middle = p.double().mean(0)
        nats.append((middle @ divergence(b, middle @ b)).item())
    assert all(after < before for before, after in pairwise(nats))
    q = InformationLaundering(1e6).fit_answers(p)(p)
    torch.testing.assert_close(q, p.mean(0).expand_as(q), atol=2e-3, rtol=0)


def test_the_input_kernel_is_drawn_with_its_frequencies():
    x = torch.full((1, 1, 300, 300), 0.2)
    defense = InputLaundering("secret", levels=6, price=0.02).fit_inputs(torch.linspace(0, 1, 60)[None])
    y = defense(x, nn.Identity().eval())
    share = (y * 5).round().long().flatten().bincount(minlength=6) / y.numel()
    torch.testing.assert_close(share.double(), defense.kernel.tensors["input"][1], atol=0.01, rtol=0)
    assert share.argmax() == 1


def test_an_unfitted_or_foreign_kernel_answers_nothing():
    with pytest.raises(NotFitted, match="fit"):
        InformationLaundering()(edge_case_rows(3))
    with pytest.raises(NotFitted, match="fit"):
        InputLaundering("k")(torch.rand(2, 4), nn.Identity().eval())
    with pytest.raises(BadInput, match="the 5 that"):
        InformationLaundering().fit_answers(torch.eye(5))(edge_case_rows(3))
