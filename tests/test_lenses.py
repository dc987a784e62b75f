"""What each lens sees: against properties, brute force and defenses with known answers."""

import pytest
import torch
from hypothesis import given
from tests.problems import Linear, awkward_rows, order, simplex_rows

from feint.attacks import HardLabels, RankTargets, Sharpened, Smoothed
from feint.defenses.outputs import APGPClosedForm, GaussianNoise
from feint.errors import BadInput
from feint.service import Defense, Service


def images(n: int, size: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


@given(simplex_rows(5))
def test_sharpening_keeps_the_order_and_approaches_the_label(p):
    sharp = Sharpened(0.5).read(p)
    assert torch.allclose(sharp.sum(-1), torch.ones(len(p)))
    assert torch.allclose(sharp, p**2 / (p**2).sum(-1, keepdim=True), atol=1e-6)
    assert torch.allclose(Sharpened(1.0).read(p), p, atol=1e-6)
    alone = (p == p.amax(-1, keepdim=True)).sum(-1) == 1
    assert torch.allclose(Sharpened(0.001).read(p)[alone], HardLabels().read(p)[alone], atol=1e-6)


def test_a_low_temperature_tells_nearly_uniform_answers_apart():
    p = torch.tensor([[0.10002, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.09998]])
    assert Sharpened(1e-5).read(p)[0, 0] > 0.999


@pytest.mark.parametrize("classes", [2, 5])
def test_rank_targets_depend_on_the_order_alone(classes):
    p = awkward_rows(classes)
    targets = RankTargets().read(p)
    assert torch.allclose(targets.sum(-1), torch.ones(len(p)), atol=1e-5)
    moved = p.double() ** 0.5  # an increasing map
    assert torch.allclose(RankTargets().read(moved).float(), targets)
    for row, target in zip(p, targets, strict=True):
        for i in range(classes):
            for j in range(classes):
                assert (target[i] > target[j]) == (row[i] > row[j]) or abs(target[i] - target[j]) < 1e-9
                assert row[i] != row[j] or target[i] == target[j]


def test_rank_targets_are_the_order_statistics_of_the_prior():
    """Under the uniform prior these are known: E p_(r) = (1/K) Σ_(j ≥ r) 1/j."""
    k = 6
    exact = torch.tensor([sum(1 / j for j in range(r, k + 1)) / k for r in range(1, k + 1)])
    p = torch.tensor([[0.05, 0.3, 0.1, 0.25, 0.2, 0.1001]])
    targets = RankTargets(concentration=float(k)).read(p)[0]
    assert torch.allclose(targets[order(p)[0]], exact, atol=1e-3)


def test_rank_targets_undo_what_an_order_preserving_defense_erased():
    p = (torch.randn(500, 10, generator=torch.Generator().manual_seed(0)) * 4).softmax(-1)
    q = APGPClosedForm()(p)
    before, after = (q - p).abs().sum(-1).mean(), (RankTargets().read(q) - p).abs().sum(-1).mean()
    labels = (HardLabels().read(q) - p).abs().sum(-1).mean()
    assert after < labels < before


def test_smoothing_averages_augmented_copies_and_leaves_the_global_chances_alone():
    x, state = images(6), torch.get_rng_state()
    sent = Smoothed(repeats=3, crop=1).send(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert sent.shape == (18, 1, 4, 4)
    assert torch.equal(sent, Smoothed(repeats=3, crop=1).send(x))
    assert not torch.equal(sent, Smoothed(repeats=3, crop=1, seed=1).send(x))
    assert not torch.equal(sent, x.repeat_interleave(3, 0))
    assert torch.equal(Smoothed(repeats=3, crop=0, flip=False).send(x), x.repeat_interleave(3, 0))
    with pytest.raises(BadInput, match="use Averaged"):
        Smoothed().send(torch.rand(3, 5))


def test_smoothing_sees_through_noise_that_is_keyed_to_the_query():
    """The victim sees sums of pixels, which mirroring leaves: repeats would get the same noise, copies do not."""

    class Sums(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1).mean(1) * 4, 2 - x.flatten(1).mean(1), x.flatten(1).mean(1) * 0], 1)

    x = images(40, seed=3)
    clean = Sums()(x).softmax(-1)
    noisy = Service(Sums(), Defense(outputs=[GaussianNoise("key", scale=0.2)]))
    once = noisy.oracle(client="a", budget=10_000).ask(x)
    mirrored = torch.cat([x, x.flip(-1)])
    both = noisy.oracle(client="b", budget=10_000).ask(mirrored).unflatten(0, (2, -1)).mean(0)
    smooth = Smoothed(repeats=16, crop=0)(noisy.oracle(client="c", budget=10_000)).ask(x)
    assert (smooth - clean).abs().mean() < 0.9 * (once - clean).abs().mean()
    assert (smooth - both).abs().mean() < (smooth - once).abs().mean()


def test_what_a_lens_reads_goes_into_its_transcript():
    oracle = Sharpened(0.5)(Service(Linear()).oracle(client="a", budget=9))
    p = oracle.ask(torch.rand(4, 1, 2, 2))
    assert torch.equal(oracle.transcript.p, p)
