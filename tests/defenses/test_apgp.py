"""APGP: its projection, its optimum, and the errors of its paper."""

import itertools

import pytest
import torch
from tests.support.problems import edge_case_rows

from feint.defenses.outputs import APGP, KL, L1, L2, APGPClosedForm, Cosine, ReverseKL
from feint.defenses.outputs.apgp import _project
from feint.defenses.outputs.ranks import staircase
from feint.defenses.outputs.rows import ranking, unrank


def test_the_projection_is_the_cumulative_maximum_written_as_a_loop():
    g = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    margin = torch.tensor(-1.0, dtype=torch.float64)
    for top in range(1, 6):
        q = g.clone()
        for rank in range(top - 1, -1, -1):  # best first: each of the first ranks above all that come after it
            q[:, rank] = torch.maximum(g[:, rank], q[:, rank + 1 :].amax(-1) + margin.exp())
        torch.testing.assert_close(_project(g, margin, top), q.softmax(-1))


def test_the_projection_as_printed_would_lose_the_order():
    """(E4) of the literature compares with G itself: the counter-example of methods.md, worst first."""
    g, margin = [10.0, 0.0, 0.0], 0.1
    printed = [g[0], max(g[1], g[0] + margin), max(g[2], g[1] + margin)]
    assert printed[2] < printed[1]
    ours = _project(torch.tensor([g[::-1]]), torch.tensor(margin).log(), 2)[0]
    assert (ours.diff() <= 0).all()


@pytest.mark.parametrize(
    "distance", [KL(), ReverseKL(floor=1e-4), L1(), L2(), Cosine()], ids=lambda distance: type(distance).__name__
)
@pytest.mark.parametrize("top", [1, 2, 4])
def test_the_closed_form_is_the_best_of_all_vertices(distance, top):
    """Brute force over every set of classes that the order allows, for five classes."""
    classes = 5
    p = torch.cat(
        [edge_case_rows(classes), torch.rand(40, classes, generator=torch.Generator().manual_seed(1))]
    ).double()
    p = p / p.sum(-1, keepdim=True)
    scale, steps = staircase(classes, top, 6, distance.floor, torch.float64)
    _, order = ranking(p)
    allowed = [set(range(n)) for n in range(1, top + 1)]
    rest = range(top, classes)
    allowed += [set(range(top)) | set(more) for n in range(1, classes) for more in itertools.combinations(rest, n)]
    best = torch.full((len(p),), -torch.inf, dtype=torch.float64)
    for members in allowed:
        vertex = torch.tensor([float(i in members) for i in range(classes)], dtype=torch.float64) / len(members)
        q = unrank((scale * vertex + steps).expand_as(p).contiguous(), order)
        best = torch.maximum(best, distance(q, p))
    reached = distance(APGPClosedForm(top=top, distance=distance)(p), p)
    assert (reached >= best - 1e-4).all()


@pytest.mark.slow
@pytest.mark.parametrize("top", [None, 1, 3])
def test_the_generator_reaches_the_optimum_on_a_victims_answers(victim, digits, top):
    from feint.victims import answers

    fitted = APGP(top=top).fit(victim, digits.train)
    p = answers(victim, digits.test)
    reached, optimum = (KL()(q, p).mean() for q in (fitted(p), APGPClosedForm(top=top)(p)))
    assert 0.95 * optimum <= reached <= optimum * (1 + 1e-6)


def test_fitting_is_deterministic_and_leaves_the_recipe_as_it_was(answers):
    recipe = APGP(steps=50)
    first, again, other = (recipe.fit_answers(answers, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert recipe == APGP(steps=50)
    assert torch.equal(first(answers), again(answers))


def test_a_confident_victims_answer_becomes_nearly_uniform():
    p = torch.tensor([[0.9998] + [0.0002 / 9] * 9])
    q = APGPClosedForm()(p)
    assert (q - 0.1).abs().max() < 1e-4
    top1 = APGPClosedForm(top=1)(torch.tensor([[0.9, 0.06, 0.03, 0.01]]))
    assert top1.argmax() == 0


def test_the_top_one_optimum_is_farther_than_that_of_the_whole_order(answers):
    distances = [KL()(APGPClosedForm(top=top)(answers), answers).mean() for top in (None, 3, 1)]
    assert distances == sorted(distances)
