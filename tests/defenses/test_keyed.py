"""Keyed randomness: a function of an input and a secret."""

import hmac

import pytest
import torch

from feint.defenses import keyed
from feint.errors import BadInput, BadRecipe

X = torch.rand(500, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_the_same_input_draws_the_same_numbers_whatever_stands_beside_it():
    drawn = keyed.uniforms("secret", X, 7)
    assert torch.equal(keyed.uniforms("secret", X[3:4], 7), drawn[3:4])
    levels = (X * 255).round() / 255
    assert torch.equal(keyed.uniforms("secret", (levels + 0.001).clamp_max(1), 7), drawn)


def test_another_key_or_a_visible_change_draws_others():
    drawn = keyed.uniforms("secret", X, 7)
    for other in (keyed.uniforms("other", X, 7), keyed.uniforms("secret", (X + 0.01).clamp_max(1), 7)):
        assert (other != drawn).all()
        assert torch.corrcoef(torch.stack([other.flatten(), drawn.flatten()]))[0, 1].abs() < 0.05


def test_the_numbers_are_uniform():
    drawn = keyed.uniforms("secret", X, 100)
    assert ((drawn > 0) & (drawn < 1)).all()
    counts = torch.histc(drawn.float(), 20, 0, 1)
    assert ((counts - 2500).square() / 2500).sum() < 50  # chi-squared with 19 degrees of freedom
    assert torch.corrcoef(drawn[:, :10].T).fill_diagonal_(0).abs().max() < 0.2


def test_without_a_key_or_an_input_there_is_nothing_to_draw_from():
    with pytest.raises(BadRecipe, match="secret"):
        keyed.check_key("")
    with pytest.raises(BadInput, match="inputs"):
        keyed.uniforms("secret", None, 3)


def test_digests_are_hmac_sha256_of_the_levels():
    x = torch.rand(130, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    levels = (x * 255).round().to(torch.uint8)
    slow = [hmac.digest(b"secret", bytes(row.flatten().tolist()), "sha256") for row in levels]
    assert [row.tobytes() for row in keyed.digests("secret", x)] == slow
