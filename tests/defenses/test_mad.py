"""MAD and MAD-argmax: their corners against every corner there is."""

import pytest
import torch
from tests.support.problems import (
    LENET,
    SURROGATE,
    Linear,
    answers_and_images,
    edge_case_rows,
    gradient_matrix,
    noise_split,
)
from torch import Tensor

from feint.defenses.outputs import MAD, AllParameters, LastLayer, MADArgmax
from feint.defenses.outputs._surrogates import gram
from feint.defenses.outputs.corners import _greedy_two_sums, _sweep, farthest_sets
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.models.networks import Network

LAST = slice(-5 * 84 - 5, -5)  # columns of a gradient matrix: the last layer's weights, before its 5 biases


def corners(classes: int) -> Tensor:
    numbers = torch.arange(1, 2**classes)[:, None]
    sets = (numbers >> torch.arange(classes) & 1).double()
    return sets / sets.sum(-1, keepdim=True)


def cosines(u: Tensor, p: Tensor, s: Tensor) -> Tensor:
    """cos(u − s, p − s) up to 1/|p − s|, one row at a time: the last-layer objective by its definition."""
    return (u - s) @ (p - s) / (u - s).norm(dim=-1)


def instances(classes: int, n: int, spread: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    p, s = (torch.randn(n, classes, generator=generator, dtype=torch.float64) for _ in range(2))
    return (4 * p).softmax(-1), (spread * s).softmax(-1)


def least(p: Tensor, s: Tensor) -> Tensor:
    u = corners(p.shape[-1])
    return torch.stack([cosines(u[u[:, a.argmax()] > 0], a, b).min() for a, b in zip(p, s, strict=True)])


def reached(sets: Tensor, p: Tensor, s: Tensor) -> Tensor:
    u = sets.double() / sets.sum(-1, keepdim=True)
    return torch.stack([cosines(c[None], a, b)[0] for c, a, b in zip(u, p, s, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(("classes", "n"), [(2, 50), (3, 200), (6, 500), (10, 200), (12, 40)])
def test_up_to_twelve_classes_the_set_is_the_best_of_all(classes, n, spread):
    p, s = instances(classes, n, spread)
    sets = farthest_sets(p, s)
    assert sets.gather(-1, p.argmax(-1, keepdim=True)).all()
    torch.testing.assert_close(reached(sets, p, s), least(p, s), atol=1e-12, rtol=0)


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(("classes", "n"), [(5, 500), (10, 300)])
def test_the_sweep_is_exact_where_the_gradient_turns_by_more_than_a_right_angle(classes, n, spread):
    """Elsewhere it is nearly so, and never worse than the paper's greedy."""
    p, s = instances(classes, n, spread)
    order = p.argsort(dim=-1, descending=True)
    p, s = p.gather(-1, order), s.gather(-1, order)
    swept, best = reached(_sweep(p, s), p, s), least(p, s)
    obtuse = best < 0
    assert obtuse.any()
    torch.testing.assert_close(swept[obtuse], best[obtuse], atol=1e-12, rtol=0)
    assert ((swept - best) < 1e-9).float().mean() > 0.95
    assert (swept <= reached(_greedy_two_sums(p, s), p, s) + 1e-12).all()


@pytest.mark.parametrize("classes", [20, 32, 100, 1000])
def test_above_twelve_classes_no_corner_of_a_crowd_is_better(classes):
    p, s = instances(classes, 3, 1.0)
    values = reached(farthest_sets(p, s), p, s)
    generator = torch.Generator().manual_seed(0)
    for value, a, b in zip(values, p, s, strict=True):
        crowd = (torch.rand(500, classes, generator=generator) < torch.rand(500, 1, generator=generator)).double()
        crowd[:, a.argmax()] = 1
        assert value <= cosines(crowd / crowd.sum(-1, keepdim=True), a, b).min() + 1e-12


def deviation(q: Tensor, p: Tensor, g: Tensor) -> Tensor:
    """The objective of the paper for one input with gradient matrix `g` (K, D)."""
    a, b = g.T @ q, g.T @ p
    return (a / a.norm() - b / b.norm()).square().sum()


@pytest.mark.parametrize("gradients", [LastLayer(), AllParameters()], ids=lambda gradients: type(gradients).__name__)
def test_the_corner_is_the_best_by_the_papers_definition(gradients):
    model, (p, x) = SURROGATE.model, answers_and_images(6)
    full = torch.stack([gradient_matrix(model, it) for it in x]).double()
    if gradients == LastLayer():
        full = full[..., LAST]
    labels, sets = gradients.one_hot(model, x, p), gradients.uniform(model, x, p)
    every = corners(5)
    for label, chosen, row, g in zip(labels, sets, p.double(), full, strict=True):
        one_hot = torch.eye(5, dtype=torch.float64)
        best = max(deviation(u, row, g) for u in one_hot)
        assert deviation(one_hot[label], row, g) > best - 1e-4
        best = max(deviation(u, row, g) for u in every if u[row.argmax()] > 0)
        assert deviation(chosen.double() / chosen.sum(), row, g) > best - 1e-4


def test_gradient_products_are_those_of_k_backward_passes():
    model, (_, x) = SURROGATE.model, answers_and_images(3)
    full = [gradient_matrix(model, it) for it in x]
    torch.testing.assert_close(gram(model, x), torch.stack([g @ g.T for g in full]), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("method", [MAD, MADArgmax])
def test_it_goes_towards_its_corner_as_far_as_the_budget_allows(method):
    p, x = answers_and_images(20)
    for epsilon in (0.1, 0.9, 2.0):
        q = method(epsilon, surrogate=SURROGATE)(p, x)
        moved = (q - p).abs().sum(-1)
        assert (moved <= epsilon + 1e-5).all()
        assert ((moved > epsilon - 1e-5) | (epsilon > 0.1)).all()
    chosen = LastLayer().uniform(SURROGATE.model, x, p).float()
    far = MADArgmax(2.0, surrogate=SURROGATE)(p, x)
    torch.testing.assert_close(far, chosen / chosen.sum(-1, keepdim=True), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", [MAD, MADArgmax])
def test_the_surrogate_is_drawn_from_the_seed(method):
    victim = LENET.build(3)
    first, again, other = (method().fit(victim, noise_split(), seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first.surrogate.network == LENET
    foreign = method().fit(Linear(64, 5), noise_split())
    assert foreign.surrogate.network == Network("mlp", (1, 8, 8), 5)


@pytest.mark.parametrize("method", [MAD, MADArgmax])
def test_what_does_not_belong_together_is_refused(method):
    p, x = answers_and_images(3)
    with pytest.raises(NotFitted, match="fit"):
        method()(p, x)
    fitted = method(surrogate=SURROGATE)
    for bad_p, bad_x in ((p, None), (p, x[:2]), (p, x[..., :4]), (edge_case_rows(4), x)):
        with pytest.raises(BadInput, match="expected"):
            fitted(bad_p, bad_x)
    for epsilon in (-0.1, 2.1):
        with pytest.raises(BadRecipe, match="identity"):
            method(epsilon)
