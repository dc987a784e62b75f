"""Disguises: inputs of a pool that look more ordinary than they are, and to which inputs the answers belong."""

import pytest
import torch
from tests.examples import DOMAINS, NATURAL, NETWORK, PROXY, TRAINING, pool, pool_of

from feint import Service
from feint.attacks import Blended, Evasive, Pasted, RaisedEnergy
from feint.attacks.surrogates import logits
from feint.errors import BadInput
from feint.models.networks import Network
from feint.models.perturbation import PGD
from feint.signature import Tokens


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_gradient_steps_raise_the_energy_within_their_radius():
    x, model = pool().inputs(), PROXY.model
    moved = RaisedEnergy(PGD(0.05, 0.1), steps=4).apply(x, model, generator())
    assert (logits(model, moved).logsumexp(-1) > logits(model, x).logsumexp(-1)).double().mean() > 0.95
    assert (moved - x).abs().max() <= 0.1 + 1e-6


def test_before_there_is_a_model_nothing_is_moved():
    x = pool().inputs()
    assert torch.equal(RaisedEnergy().apply(x, None, generator()), x)


def test_a_blend_lies_between_the_input_and_an_ordinary_one():
    x, ordinary = pool().inputs(), NATURAL.take(slice(0, 1), part="one")
    mixed = Blended(ordinary, share=0.25).apply(x, None, generator())
    assert torch.allclose(mixed, 0.75 * x + 0.25 * ordinary.inputs())


def test_a_paste_covers_its_share_of_the_image():
    x = torch.zeros(50, 1, 2, 2)
    white = Pasted(NATURAL, share=0.25, kinds=300).apply(x, None, generator()) > 0
    assert (white.flatten(1).sum(1) == 1).double().mean() > 0.9
    assert len(white.flatten(1).int().argmax(1).unique()) == 4


@pytest.mark.parametrize("kind", DOMAINS)
def test_a_blend_is_a_valid_input_of_any_domain(kind):
    x, ordinary = pool_of(kind), pool_of(kind, 40)
    mixed = Blended(ordinary).apply(x.inputs(), None, generator())
    x.domain.check(mixed.numpy())
    assert mixed.nan_to_num().ne(x.inputs().nan_to_num()).any()


def test_the_surrogate_learns_the_answers_to_the_changed_inputs():

    oracle = Service(PROXY.model).oracle(client="a", budget=50)
    Evasive(pool(), NETWORK, TRAINING, share=0.0, proxy=PROXY, disguise=Blended(NATURAL)).steal(oracle)
    known = {row.numpy().tobytes() for row in pool().inputs()}
    assert not any(row.numpy().tobytes() in known for row in oracle.transcript.x)


def test_gradients_are_refused_on_tokens_in_favour_of_blends():
    network = Network("mlp", DOMAINS["Tokens"], 3)
    attack = Evasive(pool_of("Tokens"), network, TRAINING, disguise=RaisedEnergy())
    with pytest.raises(BadInput, match=r"for RaisedEnergy.*use Blended"):
        attack.require_domain(network.domain)
    assert Tokens in Blended.domains


def test_ordinary_inputs_of_another_domain_are_refused():
    oracle = Service(PROXY.model).oracle(client="a", budget=10)
    with pytest.raises(BadInput, match="ordinary inputs of"):
        Evasive(pool(), NETWORK, TRAINING, disguise=Pasted(pool_of("Columns"))).steal(oracle)
    assert oracle.asked == 0
