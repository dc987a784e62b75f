"""ModelGuard against a solver of linear programs, and against what its paper promises."""

import numpy as np
import pytest
import torch
from tests.support.linear_programs import least_within
from tests.support.problems import Linear, edge_case_rows, order

from feint.defenses.outputs import ModelGuardS, ModelGuardW
from feint.errors import BadRecipe
from feint.ledger import Ledger
from feint.query import Query
from feint.service import Defense, Service


def some_rows(classes: int, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(classes)
    spread = 5 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    random = (spread * torch.randn(n, classes, generator=generator, dtype=torch.float64)).softmax(-1)
    return torch.cat([edge_case_rows(classes, dtype=torch.float64), random])


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "n"), [(2, 2), (3, 8), (5, 8), (10, 8), (100, 1)])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3, 1.5])
def test_modelguard_w_is_the_optimum_of_its_linear_program(classes, n, epsilon):
    p = some_rows(classes, n)
    q = ModelGuardW(epsilon)(p).numpy()
    for clean, answer in zip(p.numpy(), q, strict=True):
        cost = np.log(clean + 1e-6)
        best = least_within(cost, clean, epsilon, top=int(clean.argmax()), margin=1e-4)
        assert abs(cost @ answer - best) < 1e-6


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_modelguard_w_keeps_its_budget_and_the_label_wins_where_the_two_conflict(classes):
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


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (ModelGuardW, {"epsilon": -0.1}),
        (ModelGuardW, {"epsilon": 2.1}),
        (ModelGuardW, {"margin": 1e-7}),
        (ModelGuardW, {"margin": 0.5}),
        (ModelGuardS, {"epsilon": -0.1}),
        (ModelGuardS, {"epsilon": 2.1}),
        (ModelGuardS, {"most": -1}),
    ],
)
def test_what_is_out_of_range_is_refused(method, wrong):
    with pytest.raises(BadRecipe, match="expected"):
        method(**wrong)


def test_a_margin_that_so_many_classes_have_no_room_for_is_refused():
    with pytest.raises(BadRecipe, match="lower it"):
        ModelGuardW(margin=0.01)(torch.full((1, 200), 1 / 200))


def one_by_one(p, epsilon, most=10**9):
    """Quantise as in the paper: lists, and a loop over rows."""
    centroids, answers = [], []
    for row in p.double().tolist():
        label = row.index(max(row))
        mine = [c for c in centroids if c.index(max(c)) == label]
        gaps = [sum(abs(a - b) for a, b in zip(row, c, strict=True)) for c in mine]
        answer = next((c for c, gap in zip(mine, gaps, strict=True) if gap <= epsilon), None)
        if answer is None and len(centroids) < most:
            centroids.append(row)
            answer = row
        if answer is None:
            answer = mine[gaps.index(min(gaps))] if mine else [float(i == label) for i in range(len(row))]
        answers.append(answer)
    return torch.tensor(answers)


def many_rows(n=150, classes=5):
    logits = 2 * torch.randn(n, classes, generator=torch.Generator().manual_seed(0))
    return torch.cat([logits.softmax(-1), edge_case_rows(classes)])


@pytest.mark.parametrize("epsilon", [0.11, 0.52, 1.03])
@pytest.mark.parametrize("most", [0, 3, 40, 10_000])
def test_modelguard_s_equals_its_loop_over_rows(epsilon, most):
    p = many_rows()
    expected = one_by_one(p, epsilon, most)
    torch.testing.assert_close(ModelGuardS(epsilon, most)(p), expected, atol=1e-5, rtol=0)
    line = ModelGuardS(epsilon, most).bind(Linear(), Ledger())
    parts = torch.cat([line(rows) for rows in p.split([1, 1, 50, 7, len(p) - 59])])
    torch.testing.assert_close(parts, expected, atol=1e-5, rtol=0)


def test_the_codebook_is_bounded_shared_and_answers_a_repeated_query_as_before():
    p, ledger = many_rows(), Ledger()
    first, second = (ModelGuardS(0.2, 30).bind(Linear(), ledger) for _ in range(2))
    answers = first(p)
    assert torch.equal(first(p), answers)
    assert torch.equal(second(p.flip(0)).flip(0), answers)
    assert len(ledger.shared.rows("ModelGuardS 0.2 5")) == 30
    coarse = ModelGuardS(1.0).bind(Linear(), ledger)
    assert ((coarse(p) - p).abs().sum(-1) <= 1 + 3e-6).all()  # its own codebook, not that of another ε


def test_a_full_codebook_never_returns_the_clean_answer():
    p = torch.tensor([[0.9, 0.06, 0.04], [0.5, 0.3, 0.2], [0.2, 0.7, 0.1]])
    q = ModelGuardS(0.1, most=1)(p)
    torch.testing.assert_close(q, torch.tensor([[0.9, 0.06, 0.04], [0.9, 0.06, 0.04], [0.0, 1.0, 0.0]]))


def test_two_clients_of_a_service_meet_the_same_codebook():
    x = torch.rand(1, 4, generator=torch.Generator().manual_seed(0))
    service = Service(Linear(), Defense(outputs=[ModelGuardS(2.0)]))
    first = service(Query(x, "one")).p
    near = service(Query((x + 0.01).clamp(max=1), "two")).p
    assert torch.equal(first, near)
