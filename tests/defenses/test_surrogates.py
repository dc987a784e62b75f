"""GRAD²: derivatives against one backward pass for each class, optima against a solver of linear programs."""

import pytest
import torch
from tests.support.linear_programs import least_within
from tests.support.problems import (
    LENET,
    SURROGATE,
    Linear,
    answers_and_images,
    edge_case_rows,
    gradient_matrix,
    noise_split,
)
from tests.support.variance import assert_close

from feint.defenses.outputs import GRAD2, AllOnes, MinInnerProduct, Watermark
from feint.defenses.outputs._linear_programs import least_cost, least_cost_with_label
from feint.defenses.outputs._surrogates import directional_derivatives, gradient_products
from feint.errors import BadInput, BadRecipe, NotFitted
from feint.models.networks import VOCABULARY, Network
from feint.models.training import Training
from feint.recipes import store
from feint.recipes.recipe import exported_recipes
from feint.victims import Trained


@pytest.mark.parametrize("network", [LENET, Network("resnet20", (1, 8, 8), 5)], ids=lambda it: it.name)
def test_coefficients_are_those_of_k_backward_passes(network):
    model = network.build(0).eval().requires_grad_(False)
    p, x = answers_and_images(4)
    matrices = [gradient_matrix(model, it) for it in x]
    generator = torch.Generator().manual_seed(1)
    v = {name: torch.randn(w.shape, generator=generator) for name, w in model.named_parameters()}
    flat = torch.cat([part.flatten() for part in v.values()])
    torch.testing.assert_close(
        directional_derivatives(model, x, v), torch.stack([g @ flat for g in matrices]), atol=1e-3, rtol=1e-4
    )
    products = torch.stack([g @ (g.T @ row) for g, row in zip(matrices, p, strict=True)])
    torch.testing.assert_close(gradient_products(model, x, p), products, atol=1e-3, rtol=1e-4)


def test_directions_follow_their_definitions():
    model, (p, x) = SURROGATE.model, answers_and_images(3)
    matrices = [gradient_matrix(model, it) for it in x]
    ones = torch.stack([g.sum(-1) for g in matrices])
    torch.testing.assert_close(AllOnes().coefficients(model, x, p), ones, atol=1e-3, rtol=1e-4)
    away = torch.stack([-g @ (g.T @ row) for g, row in zip(matrices, p, strict=True)])
    torch.testing.assert_close(MinInnerProduct().coefficients(model, x, p), away, atol=1e-3, rtol=1e-4)
    first, again, other = (Watermark(seed).coefficients(model, x, p) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize(("classes", "n"), [(2, 4), (3, 8), (10, 8), (40, 1)])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3, 1.5])
def test_the_greedy_optima_are_those_of_the_linear_programs(classes, n, epsilon):
    generator = torch.Generator().manual_seed(classes)
    random = (2 * torch.randn(n, classes, generator=generator)).softmax(-1)
    p = torch.cat([edge_case_rows(classes), random]).double()
    p = p / p.sum(-1, keepdim=True)
    cost = torch.rand(p.shape, generator=generator, dtype=torch.float64)
    cost[::3] = (3 * cost[::3]).round() / 3  # with ties
    free, constrained = least_cost(cost, p, epsilon), least_cost_with_label(cost, p, epsilon, 1e-5)
    for c, row, q, labelled in zip(cost.numpy(), p.numpy(), free.numpy(), constrained.numpy(), strict=True):
        assert abs(c @ q - least_within(c, row, epsilon)) < 1e-6
        assert abs(c @ labelled - least_within(c, row, epsilon, top=int(row.argmax()), margin=1e-5)) < 1e-6


@pytest.mark.parametrize("direction", [AllOnes(), MinInnerProduct(), Watermark(3)])
def test_it_moves_the_attacker_as_far_as_any_answer_within_the_budget(direction):
    p, x = answers_and_images(12)
    g = direction.coefficients(SURROGATE.model, x, p).double().numpy()
    for keep_label in (False, True):
        q = GRAD2(0.7, direction, keep_label=keep_label, surrogate=SURROGATE)(p.double(), x)
        for gain, row, answer in zip(g, p.double().numpy(), q.numpy(), strict=True):
            row = row / row.sum()
            top = {"top": int(row.argmax()), "margin": 1.1e-6} if keep_label else {}
            best = -least_within(-gain, row, 0.7, **top)
            assert abs(gain @ answer - best) < 1e-6 * (1 + abs(gain).max())
        assert ((q - p).abs().sum(-1) <= 0.7 + 1e-5).all()


def test_fitting_distils_the_victim_and_can_be_kept(tmp_path):
    victim = LENET.build(3)
    recipe = GRAD2(training=Training(epochs=20, batch_size=16, learning_rate=0.05))
    first, again = (recipe.fit(victim, noise_split(), seed=1) for _ in range(2))
    assert first == again
    assert first.surrogate.network == LENET
    p, x = answers_and_images(6)
    store.save(tmp_path / "kept", first)
    from feint.defenses import outputs

    words = exported_recipes(outputs) | VOCABULARY | {"Training": Training, "Trained": Trained}
    assert_close(store.load(tmp_path / "kept", words).recipe(p, x), first(p, x))
    assert recipe.fit(victim, noise_split(), outliers=noise_split(50)) != recipe.fit(victim, noise_split())
    foreign = recipe.fit(Linear(64, 5), noise_split())
    assert foreign.surrogate.network == Network("mlp", (1, 8, 8), 5)


def test_what_does_not_belong_together_is_refused():
    p, x = answers_and_images(3)
    with pytest.raises(NotFitted, match="fit"):
        GRAD2()(p, x)
    fitted = GRAD2(surrogate=SURROGATE)
    for bad_p, bad_x in ((p, None), (p, x[:2]), (p, x[..., :4]), (torch.full((3, 4), 0.25), x)):
        with pytest.raises(BadInput, match="expected"):
            fitted(bad_p, bad_x)
    for epsilon in (-0.1, 2.1):
        with pytest.raises(BadRecipe, match="identity"):
            GRAD2(epsilon)
