"""Keyed randomness: a function of an input and a secret."""

import hmac
import json

import numpy as np
import pytest
import torch
from tests.examples import DOMAINS

from feint.defenses import keyed
from feint.defenses.keyed_numbers import check_key
from feint.defenses.outputs import GaussianNoise
from feint.errors import BadInput, BadRecipe
from feint.signature import mark

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
        check_key("")
    with pytest.raises(BadInput, match="inputs"):
        keyed.uniforms("secret", None, 3)


def test_digests_are_hmac_sha256_of_the_levels():
    x = torch.rand(130, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    levels = (x * 255).round().to(torch.uint8)
    slow = [hmac.digest(b"secret", bytes(row.flatten().tolist()), "sha256") for row in levels]
    assert [row.tobytes() for row in keyed.digests("secret", x)] == slow


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_inputs_of_every_domain_draw_by_what_counts_as_the_same_query(domain):
    x = domain.sample(30, 1)
    drawn = keyed.uniforms("secret", torch.from_numpy(x), 3)
    read = np.array(json.loads(json.dumps(x.tolist())), domain.dtype)
    assert torch.equal(keyed.uniforms("secret", torch.from_numpy(read), 3), drawn)
    assert torch.equal(keyed.uniforms("secret", torch.from_numpy(x[7:8]), 3), drawn[7:8])
    assert len(drawn.unique(dim=0)) == len({*mark(x)})


def test_a_row_draws_anew_for_another_category_and_for_a_value_that_is_missing():
    row = torch.tensor([[38.0, 25_000.0, 1.0, 0.0]], dtype=torch.float64)
    rows = row.repeat(5, 1)
    rows[1, 2], rows[2, 1], rows[3, 0], rows[4, 1] = 2.0, torch.nan, 39.0, 25_000.001
    first, city, missing, age, same = keyed.uniforms("secret", rows, 1)[:, 0].tolist()
    assert len({first, city, missing, age}) == 4
    assert first == same  # they agree in six digits
    payload = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]  # another NaN
    rows[3] = rows[2]
    rows[3, 1] = torch.from_numpy(np.array([payload]))[0]
    again = keyed.uniforms("secret", rows, 1)[:, 0].tolist()
    assert again[2] == again[3] == missing


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_the_mean_over_repeats_is_the_one_answer(domain):
    x, p = torch.from_numpy(domain.sample(2, 1)), torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    noisy = GaussianNoise("secret", scale=0.3)
    answers = torch.stack([noisy(p, x.clone()) for _ in range(20)])
    assert torch.allclose(answers.mean(0), answers[0], atol=1e-6)
    assert (answers[0] - p).abs().max() > 0.01


def test_two_defenses_with_one_key_draw_apart():
    """With the same numbers an attacker with accounts on two rungs solves two answers for the undefended one."""
    p = torch.full((500, 5), 0.2)
    soft, loud = GaussianNoise("secret", scale=0.01), GaussianNoise("secret", scale=0.02)
    first, second = (noise(p, X) - p for noise in (soft, loud))
    assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].abs() < 0.1


def test_a_share_of_the_draw_is_common_to_near_copies():
    x = torch.rand(200, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    near = (x + 1 / 255).clamp_max(1)
    drawn, beside = (
        torch.special.ndtri(keyed.shared_uniforms("secret", images, 20, purpose="", share=0.6)) for images in (x, near)
    )
    assert abs(drawn.std() - 1) < 0.05
    assert abs(torch.corrcoef(torch.stack([drawn.flatten(), beside.flatten()]))[0, 1] - 0.6) < 0.1
