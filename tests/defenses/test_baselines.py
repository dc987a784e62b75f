"""Baselines of the outputs room, each against a slow implementation of its rule."""

import itertools

import pytest
import torch
from tests.support.problems import Linear, edge_case_rows, order
from tests.support.variance import assert_close
from torch import Tensor

from feint.defenses.outputs import (
    GaussianNoise,
    HighConfidence,
    LabelOnly,
    ReverseSigmoid,
    Rounding,
    Temperature,
    TopK,
    UniformNoise,
)
from feint.defenses.outputs.output import onto_simplex
from feint.errors import BadInput
from feint.query import Query
from feint.service import Defense, Service

SIZES = 2, 3, 10, *(pytest.param(classes, marks=pytest.mark.slow) for classes in (100, 1000))


def many_rows(n: int, classes: int, *, deviation: float = 3.0) -> Tensor:
    return (torch.randn(n, classes, generator=torch.Generator().manual_seed(0)) * deviation).softmax(-1)


@pytest.mark.parametrize("classes", SIZES)
def test_the_label_alone_is_one_hot(classes):
    p = edge_case_rows(classes)
    assert torch.equal(LabelOnly()(p), torch.eye(classes)[order(p)[:, 0]])


@pytest.mark.slow
@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("threshold", [1e-3, 0.25, 0.5, 1.0])
def test_below_the_threshold_nothing_shows_and_no_row_is_empty(classes, threshold):
    p = torch.cat([edge_case_rows(classes), many_rows(50, classes)])
    q = HighConfidence(threshold=threshold)(p)
    slow = torch.zeros_like(p)
    for shown, row in zip(slow, p, strict=True):
        for i in [i for i in range(classes) if row[i] >= threshold] or [int(row.argmax())]:
            shown[i] = row[i]
    torch.testing.assert_close(q, slow / slow.sum(-1, keepdim=True), atol=2e-6, rtol=1e-5)
    assert torch.equal(q > 0, slow > 0)


@pytest.mark.parametrize("k", [1, 2, 3, 9, 10])
def test_the_k_best_show_and_no_other(k):
    p = torch.cat([edge_case_rows(10), many_rows(50, 10)])
    q = TopK(k=k)(p)
    expected = torch.zeros_like(p)
    for shown, row, best in zip(expected, p, order(p)[:, :k].tolist(), strict=True):
        shown[best] = row[best]
    torch.testing.assert_close(q, expected / expected.sum(-1, keepdim=True), atol=1e-4, rtol=0)
    assert (q[expected == 0] <= 1.3e-6 * k).all()  # keeps the shown ones apart when they are 0
    assert ((q > 0).sum(-1) <= k).all()


def test_well_separated_values_of_the_k_best_are_left_alone():
    p = torch.tensor([[0.5, 0.1, 0.3, 0.06, 0.04]])
    torch.testing.assert_close(TopK(k=3)(p), torch.tensor([[5 / 9, 1 / 9, 3 / 9, 0, 0]]), atol=2e-7, rtol=0)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 3.0, 100.0])
def test_temperature_divides_logits(temperature):
    z = torch.randn(200, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = Temperature(temperature=temperature)(z.softmax(-1))
    torch.testing.assert_close(q, (z / temperature).softmax(-1), atol=1e-6, rtol=0)
    assert torch.equal(order(q), order(z))  # no two of these are near


@pytest.mark.parametrize("decimals", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("classes", SIZES)
def test_rounded_rows_have_so_many_decimals_and_sum_to_one(classes, decimals):
    p = torch.cat([edge_case_rows(classes), many_rows(200, classes)])
    exact = p.double() / p.double().sum(-1, keepdim=True) * 10**decimals
    counts = Rounding(decimals=decimals)(p).double() * 10**decimals
    assert (counts - counts.round()).abs().max() < 0.04  # float32 near 1, in units of the sixth decimal
    assert (counts.round().sum(-1) == 10**decimals).all()
    moved = (counts.round() - exact).abs()
    assert moved.max() < 2.1
    assert ((moved > 1.1).sum(-1) <= 2).all()  # only where a unit passed to the label
    assert torch.equal(counts.argmax(-1), p.argmax(-1))


def test_the_label_leads_by_a_last_bit_and_two_units_are_missing():
    """2.4 units round to 2, three times; the label is the last of the three, and rounding lacks only two units."""
    start = torch.linspace(0.236, 0.2445, 2000, dtype=torch.float64)[:, None]
    up = start.nextafter(torch.ones_like(start))
    p = torch.cat([start, start, up, (0.98 - 3 * start) / 2, (0.98 - 3 * start) / 2, torch.full_like(start, 0.02)], -1)
    assert torch.equal(Rounding(decimals=1)(p).argmax(-1), torch.full((2000,), 2))


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_no_other_rounded_row_is_nearer_unless_it_loses_the_label(classes):
    every = itertools.product(range(11), repeat=classes)
    every = torch.tensor([counts for counts in every if sum(counts) == 10], dtype=torch.float64)
    p = torch.cat([edge_case_rows(classes), many_rows(300, classes, deviation=1.0)])
    counts = (Rounding(decimals=1)(p).double() * 10).round()
    tight = 0
    for row, ours in zip(p.double(), counts, strict=True):
        distances = (every - 10 * row).abs().sum(-1)
        nearest = (distances < distances.min() + 1e-4) & (every.argmax(-1) == row.argmax())
        if nearest.any():  # then ours is one of the nearest
            assert (ours - 10 * row).abs().sum() < distances.min() + 1e-4
            tight += 1
    assert tight > 250


def test_a_reversed_row_follows_the_formula():
    p = torch.cat([edge_case_rows(10), many_rows(100, 10)]).double()
    z = p.clamp(1e-9, 1 - 1e-9).log() - (1 - p.clamp(1e-9, 1 - 1e-9)).log()
    slow = (p - 0.8 * (1 / (1 + (-0.2 * z).exp()) - 0.5)).clamp(0, 1)
    torch.testing.assert_close(ReverseSigmoid(beta=0.8, gamma=0.2)(p), slow / slow.sum(-1, keepdim=True))


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.1), (1.0, 0.5), (0.3, 1.0), (0.9, 0.02)])
@pytest.mark.parametrize("classes", SIZES)
def test_reversed_a_label_with_more_than_half_survives(beta, gamma, classes):
    p = many_rows(2000, classes, deviation=8.0)
    p = p[p.amax(-1) > 0.501]
    assert torch.equal(ReverseSigmoid(beta=beta, gamma=gamma)(p).argmax(-1), p.argmax(-1))


def test_reversed_at_the_defaults_a_label_above_0376_survives_and_some_below_are_lost():
    p = many_rows(50_000, 10, deviation=6.0)
    preserved = ReverseSigmoid()(p).argmax(-1) == p.argmax(-1)
    assert preserved[p.amax(-1) > 0.376].all()
    assert 0.99 < preserved.float().mean() < 1


def images(n: int) -> Tensor:
    return torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(7))


def drawn_anew(p: Tensor, x: Tensor) -> Tensor:
    """Gaussian noise without a key."""
    q = (p + 0.5 * torch.randn_like(p)).clamp_min(0) + 1e-9
    return q / q.sum(-1, keepdim=True)


@pytest.mark.parametrize("noise", [GaussianNoise("secret", scale=0.5), UniformNoise("secret", scale=0.9)])
def test_the_mean_of_repeats_breaks_noise_drawn_anew_and_not_keyed_noise(noise):
    victim, x = Linear(), images(300)
    label = victim(x).argmax(-1)

    def labels_kept(defense, repeats: int) -> float:
        service = Service(victim, Defense(outputs=[defense]))
        mean = torch.stack([service(Query(x)).p for _ in range(repeats)]).mean(0)
        return (mean.argmax(-1) == label).float().mean().item()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert labels_kept(drawn_anew, 1) < 0.9
        assert labels_kept(drawn_anew, 50) > 0.93
    assert labels_kept(noise, 50) == labels_kept(noise, 1) < 0.9


@pytest.mark.parametrize("method", [GaussianNoise, UniformNoise])
def test_noise_is_the_inputs_and_the_keys(method):
    p, x = many_rows(200, 10), images(200)
    q = method("secret")(p, x)
    assert_close(method("secret")(p.flip(0), x.flip(0)).flip(0), q)  # another replica, another batch
    for other in (method("another")(p, x), method("secret")(p, 1 - x)):
        assert ((other - q).abs().amax(-1) > 1e-3).float().mean() > 0.99
    with pytest.raises(BadInput, match=r"\(p, x\)"):
        method("secret")(p)


def test_noise_has_the_spread_that_is_asked_for():
    p = torch.full((20_000, 2), 0.5)
    p[:, 0], p[:, 1] = 0.6, 0.4
    x = torch.arange(4 * len(p)).reshape(-1, 1, 2, 2).div(256, rounding_mode="floor") % 256
    x[..., 1, :] = torch.arange(2 * len(p)).reshape(-1, 1, 2) % 256
    for noise, spread in ((GaussianNoise("k", scale=0.01), 0.01), (UniformNoise("k", scale=0.01), 0.01 / 3**0.5)):
        moved = noise(p.double(), x / 255)[:, 0] - 0.6  # (0.6 + a) / (1 + a + b) − 0.6 ≈ 0.4 a − 0.6 b
        assert abs(moved.mean().item()) < spread / 20
        assert moved.std().item() == pytest.approx(spread * (0.4**2 + 0.6**2) ** 0.5, rel=0.05)


def test_uniform_noise_keeps_a_label_that_leads_by_twice_its_scale():
    p, x = many_rows(2000, 10), images(2000)
    first, second = p.topk(2).values.T
    clear = first - second > 0.2
    assert 0.3 < clear.float().mean() < 0.95
    q = UniformNoise("secret", scale=0.1)(p, x)
    assert torch.equal(q.argmax(-1)[clear], p.argmax(-1)[clear])
    assert not torch.equal(q.argmax(-1), p.argmax(-1))


def test_values_are_clipped_onto_the_simplex_and_the_largest_stays_where_none_is_above_zero():
    values = torch.tensor([[2.0, 1.0, -1.0], [-0.5, -0.1, -0.2], [0.0, 0.0, 0.0], [-1.0, 0.0, 1e-30]])
    clipped = torch.tensor([[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(onto_simplex(values), clipped)
