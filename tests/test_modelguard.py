"""ModelGuard against a solver of linear programs, and against what its paper promises."""

import numpy as np
import pytest
import torch
from tests.linear_programs import least_within
from tests.problems import awkward_rows, order

from feint.defenses.outputs import ModelGuardW
from feint.errors import BadRecipe


def some_rows(classes: int, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(classes)
    spread = 5 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    random = (spread * torch.randn(n, classes, generator=generator, dtype=torch.float64)).softmax(-1)
    return torch.cat([awkward_rows(classes, dtype=torch.float64), random])


@pytest.mark.parametrize(("classes", "n"), [(2, 2), (3, 8), (5, 8), (10, 8), (100, 1)])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3, 1.5])
def test_the_weak_one_is_the_optimum_of_its_linear_program(classes, n, epsilon):
    p = some_rows(classes, n)
    q = ModelGuardW(epsilon)(p).numpy()
    for clean, answer in zip(p.numpy(), q, strict=True):
        cost = np.log(clean + 1e-6)
        best = least_within(cost, clean, epsilon, top=int(clean.argmax()), margin=1e-4)
        assert abs(cost @ answer - best) < 1e-6


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_weak_one_keeps_its_budget_and_the_label_wins_where_the_two_conflict(classes):
    p = some_rows(classes, 50)
    top = order(p)[:, :1]
    for epsilon in (1e-6, 0.5, 2.0):
        for margin in (2e-6, 1e-4):
            q = ModelGuardW(epsilon, margin=margin)(p)
            others = q.scatter(-1, top, -1.0).amax(-1, keepdim=True)
            assert (q.gather(-1, top) - others >= margin - 1e-12).all()
            ranked = p.sort(-1, descending=True).values
            conflict = (ranked[:, 0] - ranked[:, 1] < margin).double()
            assert ((q - p).abs().sum(-1) <= epsilon + 2 * margin * conflict + 1e-9).all()
    tied = torch.tensor([[0.0, 0.5, 0.5]])
    assert (ModelGuardW(1e-6)(tied) - torch.tensor([[0.0, 0.50005, 0.49995]])).abs().max() < 1e-6


def test_by_hand():
    """Half of ε goes from the likely ones to the least likely one, until two of them would be equal."""
    q = ModelGuardW(0.4)(torch.tensor([[0.6, 0.4, 0.0]]))
    assert (q - torch.tensor([[0.40005, 0.39995, 0.2]])).abs().max() < 1e-4
    q = ModelGuardW(0.1)(torch.tensor([[0.8, 0.1, 0.1 - 1e-4, 1e-4]]))
    assert (q - torch.tensor([[0.75, 0.1, 0.1 - 1e-4, 0.05 + 1e-4]])).abs().max() < 1e-6


@pytest.mark.parametrize("wrong", [{"epsilon": -0.1}, {"epsilon": 2.1}, {"margin": 1e-7}, {"margin": 0.5}])
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(BadRecipe, match="expected"):
        ModelGuardW(**wrong)


def test_a_margin_that_so_many_classes_have_no_room_for_is_refused():
    with pytest.raises(BadRecipe, match="lower it"):
        ModelGuardW(margin=0.01)(torch.full((1, 200), 1 / 200))
