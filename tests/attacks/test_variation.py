"""Varied copies: valid inputs of any domain, and others than those that they are made of."""

import pytest
import torch
from tests.examples import DOMAINS, NETWORK, TRAINING, pool, pool_of
from tests.support.problems import Linear

from feint import Service
from feint.attacks import AugmentedSeeds
from feint.attacks.variation import varied
from feint.signature import mark


@pytest.mark.parametrize("kind", DOMAINS)
def test_varied_copies_are_other_valid_inputs(kind):
    domain, kinds = DOMAINS[kind], pool_of(kind, 20).inputs()
    copies = varied(kinds, 60, domain, torch.Generator().manual_seed(0))
    domain.check(copies.numpy())
    assert len({*mark(copies.numpy())} - {*mark(kinds.numpy())}) > 40


def test_images_are_mirrored_only_where_they_may_be():
    half = torch.zeros(1, 1, 16, 16)
    half[..., :8] = 1
    domain, generator = pool().domain, torch.Generator().manual_seed(0)

    def left(flip: bool) -> float:
        copies = varied(half, 100, domain, generator, flip=flip)
        return (copies[..., :4].mean((1, 2, 3)) > 0.5).double().mean().item()

    assert left(False) == 1
    assert 0.3 < left(True) < 0.7


def test_seeds_are_asked_first_and_then_their_copies():
    oracle = Service(Linear()).oracle(client="a", budget=100)
    AugmentedSeeds(pool(), NETWORK, TRAINING, seeds=30).steal(oracle)
    known = {row.numpy().tobytes() for row in pool().inputs()}
    asked = [row.numpy().tobytes() in known for row in oracle.transcript.x]
    assert all(asked[:30])
    assert sum(asked[30:]) < 35
