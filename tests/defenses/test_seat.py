"""SEAT: distances of its encoder, and its hits against a loop."""

from dataclasses import replace

import pytest
import torch

from feint.data import Split, load
from feint.defenses.access import SEAT
from feint.errors import BadInput
from feint.ledger import Account
from feint.models.training import Training
from feint.query import Query


def blocks(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 1, 2, 2, generator=generator).repeat_interleave(2, -1).repeat_interleave(2, -2)
    return (0.7 * coarse + 0.3 * torch.rand(n, 1, 4, 4, generator=generator)).mul(255).round().div(255)


def split(n: int) -> Split:
    return Split.of((blocks(n, 0) * 255).round().byte().numpy(), torch.zeros(n, dtype=torch.int64).numpy())


@pytest.fixture(scope="module")
def fitted() -> SEAT:
    recipe = SEAT("mlp", 16, training=Training(least_steps=200, epochs=1, batch_size=64), memory=120)
    return recipe.fit(torch.nn.Identity(), split(900))


@pytest.mark.slow
def test_small_steps_are_near_and_other_inputs_are_far(fitted):
    x = blocks(200, 1)
    steps = (x + fitted.radius * torch.randn(x.shape).sign()).clamp(0, 1)
    e = fitted.embed(x)
    near, far = (fitted.embed(steps) - e).norm(dim=-1), (e.roll(1, 0) - e).norm(dim=-1)
    assert near.median() < 0.1 * far.median()
    assert near.median() < fitted.calibration.tensors["threshold"] * 2


@pytest.mark.slow
def test_default_training_embeds_digits_the_margin_apart():
    recipe = SEAT(training=replace(SEAT().training, epochs=1, least_steps=120))
    fitted, digits = recipe.fit(torch.nn.Identity(), load("digits").train), load("digits").test.inputs(slice(200))
    e = fitted.embed(digits)
    far = (e.roll(1, 0) - e).square().mean(-1)
    assert far.median() > fitted.margin**2


def test_hits_are_those_of_the_loop(fitted):
    x = torch.cat([blocks(60, 2), (blocks(60, 2) + 0.004).clamp(0, 1), blocks(60, 3), blocks(60, 3)])
    account, threshold = Account("a"), fitted.calibration.tensors["threshold"].item()
    for part in x.split(101):
        evidence = fitted.observe(Query(part), torch.zeros(len(part), 2), account)
    e, most = fitted.embed(x), 0
    for start in (0, 120):  # the windows
        hits = sum(
            min((e[i] - e[j]).norm().item() for j in range(start, i)) < threshold for i in range(start + 1, start + 120)
        )
        most = max(most, hits)
    assert most >= 60
    assert evidence == pytest.approx(most / fitted.allowed)


def test_memory_is_at_most_what_was_calibrated_on():
    few = SEAT("mlp", 4, training=Training(epochs=1), memory=5000).fit(torch.nn.Identity(), split(30))
    account = Account("a")
    few.observe(Query(blocks(25, 1)), torch.zeros(25, 2), account)
    assert len(account.rows("SEAT")) == 5  # of 30 inputs, 10 are held for calibration
    with pytest.raises(BadInput, match="6 or more"):
        SEAT().fit(torch.nn.Identity(), split(2))
