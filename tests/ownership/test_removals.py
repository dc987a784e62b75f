"""Removals change a copy, and leave the old one as it was."""

import numpy as np
import pytest
import torch
from tests.examples import TINY

from feint import victims
from feint.attacks import KnockoffNets
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.inference import last_linear
from feint.models.networks import Network
from feint.models.training import learn
from feint.ownership import WRK, Distilled, FineTuned, GatedCopy, Pruned, Quantized, Removed
from feint.signature import Column, Columns, Pixels, Text

REMOVALS = {
    "last layer": FineTuned("last", TINY),
    "all layers": FineTuned("all", TINY),
    "a new last layer": FineTuned("fresh", TINY),
    "pruned": Pruned(0.5),
    "8 bits": Quantized(8),
    "distilled": Distilled("mlp20"),
    "relabelled neighbours": WRK(share=0.5, moved=10, training=TINY),
    "gate": GatedCopy(),
}


@pytest.fixture(scope="module")
def inputs(digits, victim):
    pool = digits.pool
    return Split.of(pool.values, victims.answers(victim, pool).argmax(-1).numpy())


def accuracy(model, split):
    return (victims.answers(model, split).argmax(-1) == split.labels).float().mean().item()


@pytest.mark.parametrize("removal", REMOVALS.values(), ids=REMOVALS)
def test_the_copy_is_as_it_was_and_the_result_still_knows_its_task(removal, victim, inputs, digits):
    before = victims.fingerprint(victim)
    new = removal.remove(victim, inputs, seed=1)
    assert victims.fingerprint(victim) == before
    assert all(w.requires_grad for w in victim.parameters())
    assert not torch.equal(victims.answers(new, digits.test), victims.answers(victim, digits.test))
    assert accuracy(new, digits.test) > 0.75


def test_the_last_layer_alone_is_tuned(victim, inputs):
    new = REMOVALS["last layer"].remove(victim, inputs)
    changed = {n for n, w in new.named_parameters() if not torch.equal(w, dict(victim.named_parameters())[n])}
    last = last_linear(new)
    assert {id(w) for n, w in new.named_parameters() if n in changed} == {id(last.weight), id(last.bias)}


def test_half_of_the_weights_are_zero(victim, inputs):
    new = Pruned(0.5).remove(victim, inputs)
    weights = torch.cat([w.flatten() for n, w in new.named_parameters() if w.ndim > 1])
    assert (weights == 0).float().mean() == pytest.approx(0.5, abs=0.01)


def test_a_weight_has_so_many_levels(victim, inputs):
    new = Quantized(3).remove(victim, inputs)
    assert len(last_linear(new).weight.unique()) <= 7


def test_a_gate_changes_the_label_of_what_is_strange(victim, inputs, digits):
    gated = GatedCopy(0.05).remove(victim, inputs)
    noise = torch.rand(200, *digits.shape)
    assert (victims.predict(gated, noise).argmax(-1) != victims.predict(victim, noise).argmax(-1)).float().mean() > 0.2


@pytest.mark.parametrize(
    "make", [lambda: FineTuned("first"), lambda: Pruned(1.0), lambda: Quantized(1)], ids=["layers", "share", "bits"]
)
def test_a_removal_out_of_range_is_refused(make):
    with pytest.raises(BadRecipe):
        make()


@pytest.mark.parametrize("removal", [REMOVALS["a new last layer"], REMOVALS["relabelled neighbours"]], ids=repr)
def test_a_new_last_layer_is_the_same_for_the_same_seed(removal, victim, inputs, digits):
    first, again = (victims.answers(removal.remove(victim, inputs, seed=1), digits.test) for _ in range(2))
    assert torch.equal(first.argmax(-1), again.argmax(-1))


@pytest.fixture(scope="module")
def learned():
    """Return a function from a network for tables or texts to a copy of it, and the attacker's inputs."""

    def learned(name):
        domain = Text(40) if name == "ngrams" else Columns(tuple(Column(f"x{i}", low=0, high=1) for i in range(5)))
        labels = (np.arange(60) % 3).astype(np.int64)
        split = Split.of(domain.encode(domain.sample(60, 0)), labels, domain=domain)
        return learn(Network(name, domain, 3), split.inputs(), split.labels, TINY, seed=0), split

    return learned


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("last layer", "boosted_trees"), ("last layer", "ngrams"), ("a new last layer", "boosted_trees"),
        ("a new last layer", "ngrams"), ("pruned", "boosted_trees"), ("8 bits", "boosted_trees"),
        ("relabelled neighbours", "boosted_trees"), ("relabelled neighbours", "ngrams"), ("gate", "random_forest"),
    ],
)  # fmt: skip
def test_a_removal_that_a_network_has_nothing_for_is_refused(name, network, learned):
    with pytest.raises((BadInput, BadRecipe)):
        REMOVALS[name].remove(*learned(network))


def test_weights_of_a_text_are_rounded_too(learned):
    model, split = learned("ngrams")
    assert not torch.equal(victims.answers(Quantized(4).remove(model, split), split), victims.answers(model, split))


def test_an_attack_with_a_removal_takes_the_domains_of_both(network, digits):
    assert Removed(KnockoffNets(digits.pool, network), WRK()).domains == (Pixels, Columns)
