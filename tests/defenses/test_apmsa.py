"""APMSA: inputs reach the edge of their class, keep their label, and go no further than the gap."""

import pytest
import torch
import torch.nn.functional as F
from tests.support.problems import Fixed, Linear
from torch import nn

from feint.defenses.inputs import APMSA, CW, FGSM, PGD, DeepFool, Ray, _root_finding
from feint.defenses.inputs._margins import MarginModel, forward
from feint.defenses.inputs.apmsa import approach_boundary
from feint.errors import BadInput
from feint.models.perturbation import margin_of
from feint.query import Query
from feint.service import Defense, Service
from feint.victims import predict

X = torch.rand(24, 6, generator=torch.Generator().manual_seed(0))
STEPS = [Ray(), DeepFool(), FGSM(), PGD(step=0.05, radius=0.9), CW(learning_rate=0.02)]


class Confident(nn.Module):
    """A small network whose logits are `scale` times those of random weights."""

    def __init__(self, scale: float, *, classes: int = 10, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.first, self.second = (nn.Parameter(torch.randn(s, generator=g)) for s in ((6, 64), (64, classes)))
        self.scale, self.kind = scale, dtype
        self.rows: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        return ((x - 0.5) @ self.first).relu().to(self.kind) @ self.second.to(self.kind) * self.scale


def gap(p: torch.Tensor) -> torch.Tensor:
    top = p.topk(2).values
    return top[:, 0] - top[:, 1]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
@pytest.mark.parametrize("target", [1e-3, 0.5])
def test_the_gap_meets_its_target_whatever_the_step(step, target):
    model = Confident(3.0).eval()
    before = predict(model, X)
    done = approach_boundary(model, X, APMSA(step=step, gap=target))
    p = predict(model, done.x)
    assert done.arrived[gap(before) > target].float().mean() > 0.9
    assert (gap(p)[done.arrived] <= target).all()
    assert torch.equal(p.argmax(-1), before.argmax(-1))
    calm = gap(before) <= target
    assert torch.equal(done.x[calm], X[calm])  # what is near already is not moved


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 1e4, 1e6])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_every_label_is_kept_from_flat_to_steep_models(scale, classes):
    model = Confident(scale, classes=classes).eval()
    service = Service(model, Defense(inputs=[APMSA()]))
    label = predict(model, X).argmax(-1)
    p = service(Query(X)).p
    assert torch.equal(p.argmax(-1), label)
    assert torch.equal((p.double() * 1e6).round().argmax(-1), label) or scale < 1  # a flat answer ties by itself
    assert torch.equal(torch.cat([service(Query(x[None])).p for x in X[:5]]).argmax(-1), label[:5])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_label_is_that_of_the_deployed_type(dtype):
    model = Confident(1.0, dtype=dtype).eval()
    p = predict(model, APMSA()(X, model))
    assert torch.equal(p.argmax(-1), predict(model, X).argmax(-1))


def test_the_margin_leads_down_where_the_cross_entropy_is_flat():
    """A logit 200 above the others: the probability rounds to 1, and the cross-entropy's gradient to 0."""
    model = Linear(6, 3)
    model.weight.data *= 1e3
    x = X[(margin_of(model(X), model(X).argmax(-1)) > 200)]
    assert len(x) >= 4
    z, leaf = forward(model, x, gradient=True)
    (flat,) = torch.autograd.grad(F.cross_entropy(z, z.argmax(-1), reduction="sum"), leaf, retain_graph=True)
    (down,) = torch.autograd.grad(margin_of(z, z.argmax(-1)).sum(), leaf)
    assert not flat.any()
    assert down.flatten(1).any(-1).all()
    assert approach_boundary(model.eval(), x, APMSA()).arrived.all()


def test_ties_are_left_as_they_are_and_the_lowest_index_wins():
    model = Fixed([1.0, 2.0, 2.0]).eval()
    done = approach_boundary(model, X, APMSA())
    assert torch.equal(done.x, X)
    assert done.label.eq(1).all()
    assert done.forwards.eq(1).all()
    assert done.backwards.eq(0).all()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_an_input_that_never_loses_its_label_returns_the_last_iterate_and_is_counted(step):
    model = Linear(6, 3)
    model.register_forward_hook(lambda _, __, z: z + torch.tensor([1e3, 0.0, 0.0]))
    done = approach_boundary(model.eval(), X, APMSA(step=step, steps=5))
    assert not done.arrived.any()
    assert done.forwards.eq(6).all()
    before, after = (margin_of(model(x), done.label) for x in (X, done.x))
    assert (after < before).all()
    assert done.label.eq(0).all()


def test_where_nothing_leads_down_the_input_is_returned():
    model = Confident(3.0).eval()
    model.first.data.zero_()
    model.second.data.zero_()
    model.register_forward_hook(lambda _, __, z: z + torch.arange(10.0))
    done = approach_boundary(model, X, APMSA())
    assert torch.equal(done.x, X)
    assert done.forwards.eq(1).all()
    assert not done.arrived.any()


@pytest.mark.parametrize("model", [Fixed([5.0, 1.0]), Linear(6).requires_grad_(False)], ids=["constant", "detached"])
def test_a_model_without_gradients_is_not_answered_undefended(model):
    if isinstance(model, Linear):
        model.register_forward_hook(lambda _, __, z: z.detach())
    with pytest.raises(BadInput, match="differentiate"):
        APMSA()(X, model.eval())


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_every_evaluation_is_counted_and_the_finished_are_dropped(step):
    model = Confident(3.0).eval()
    done = approach_boundary(model, X, APMSA(step=step))
    assert sum(model.rows) == done.forwards.sum()
    assert model.rows[-1] < model.rows[0] == len(X)
    for x, forwards in zip(X[:3], done.forwards[:3], strict=True):
        model.rows.clear()
        approach_boundary(model, x[None], APMSA(step=step))
        assert sum(model.rows) == forwards
    if step.one_gradient:
        assert done.backwards.max() == 1


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_in_constant_time_no_input_takes_longer_than_another(step):
    model = Confident(3.0).eval()
    recipe = APMSA(step=step, steps=7, refinements=9, constant_time=True)
    done = approach_boundary(model, X, recipe)
    assert model.rows == [len(X)] * (1 + 7 + 9)
    assert done.forwards.eq(17).all()
    assert done.backwards.eq(1 if step.one_gradient else 7).all()
    hasty = approach_boundary(model, X, APMSA(step=step, steps=7, refinements=9))
    torch.testing.assert_close(done.x, hasty.x, atol=1e-6, rtol=0)
    model.rows.clear()
    approach_boundary(model, X * 0, recipe)
    assert model.rows == [len(X)] * 17


def test_ray_needs_few_evaluations():
    done = approach_boundary(Confident(3.0).eval(), X, APMSA())
    assert done.forwards.float().mean() < 9
    assert done.arrived.float().mean() > 0.9


@pytest.mark.parametrize(("steepest", "patience", "at_most"), [(9.0, 0, 12), (9.0, 16, 12), (2.0, 16, 5)])
def test_the_search_meets_every_crossing(steepest, patience, at_most, monkeypatch):
    """Bent functions of u; halving takes 8.5 evaluations, interpolation fewer where they are not bent too much."""
    monkeypatch.setattr(_root_finding, "PATIENCE", patience)
    root, power = torch.linspace(0.01, 0.99, 40), torch.linspace(1 / steepest, steepest, 40).flip(0)
    asked = []

    def value(u, rows):
        return (root[rows] ** power[rows] - u ** power[rows]) * 1e3

    def look(u, rows):
        asked.append(len(rows))
        f = value(u, rows)
        return MarginModel(margin=f + 0.1, safe=f > -0.05, near=(f > -0.05) & (f < 0.05), excess=f)

    every = torch.arange(40)
    u, n = _root_finding.regula_falsi(look, value(torch.zeros(40), every), value(torch.ones(40), every), rounds=60)
    assert (value(u, every).abs() < 0.0501).all()
    assert n.sum() == sum(asked)
    assert n.float().mean() < at_most


def test_a_jump_is_met_from_the_safe_side():
    def look(u, rows):
        safe = u < 0.3
        return MarginModel(u, safe, torch.zeros_like(safe), torch.where(safe, 5.0, -5.0))

    u, n = _root_finding.regula_falsi(look, torch.tensor([5.0]), torch.tensor([-5.0]), rounds=40)
    assert 0.299 < u.item() < 0.3
    assert n.item() == 40


def test_a_model_that_returns_no_numbers_is_refused():
    with pytest.raises(BadInput, match="finite"):
        APMSA()(X, Fixed([1.0, float("nan")]).eval())
    with pytest.raises(BadInput, match="logits"):
        APMSA()(X, nn.Flatten(0).eval())


@pytest.mark.slow
def test_cifar_labels_survive_through_resnet20(real_data):
    """The published network, where float32 differs between batches: all labels, in a batch and alone."""
    from feint import data, victims
    from feint.models import networks

    weights = real_data / "weights_cifar10_resnet20.npz"
    if not weights.exists() or not (real_data / "cifar10").is_dir():
        pytest.skip("no published weights here")
    cifar = data.load("cifar10")
    model = victims.load_published(weights, networks.get("resnet20", cifar))
    x = cifar.test.inputs(slice(0, 6))
    service = Service(model, Defense(inputs=[APMSA()]))
    p, label = service(Query(x)).p, predict(model, x).argmax(-1)
    assert torch.equal(p.argmax(-1), label)
    assert gap(p).max() <= 1e-3
    assert torch.equal(torch.cat([service(Query(row[None])).p for row in x[:2]]).argmax(-1), label[:2])
