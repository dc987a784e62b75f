"""Output defenses that bring networks of their own: adaptive misinformation, and an ensemble of diverse models."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from tests.support.variance import assert_close

from feint import victims
from feint.data import Split
from feint.defenses.outputs import EDM, AdaptiveMisinformation, Gated, Misinformation
from feint.defenses.outputs.edm import coherence
from feint.defenses.outputs.misinformation import misinformation_loss
from feint.defenses.scores import MaxProbability
from feint.errors import BadInput, NotFitted
from feint.models.networks import Network
from feint.models.training import Batch, Training
from feint.query import Query
from feint.service import Defense, Service

SHORT = Training(epochs=8, batch_size=32)


@pytest.fixture(scope="module")
def outliers(digits):
    """Negatives of digits."""
    return Split.of(255 - digits.pool.values[:300], digits.pool.labels[:300].numpy())


@pytest.fixture(scope="module")
def fitted(victim, digits, outliers):
    return AdaptiveMisinformation(training=SHORT).fit(victim, digits.train, outliers=outliers)


@pytest.fixture(scope="module")
def ensemble(victim, digits, outliers):
    return EDM(members=3, training=SHORT).fit(victim, digits.train, outliers=outliers)


def test_the_misinformation_model_avoids_the_label_and_on_outliers_the_victims(fitted, victim, digits, outliers):
    model = fitted.misinformation.model
    for split, avoided in (
        (digits.train, digits.train.labels),
        (outliers, victims.answers(victim, outliers).argmax(-1)),
    ):
        p = victims.answers(model, split).gather(1, avoided[:, None])
        assert p.mean() < 0.05


def test_the_mixture_is_the_formula(fitted, digits, victim):
    x = digits.test.inputs(slice(0, 60))
    p, wrong = victims.predict(victim, x), victims.predict(fitted.misinformation.model, x)
    recipe = replace(fitted, tau=0.8, nu=20.0)
    q = recipe(p, x)
    for got, row, other in zip(q.tolist(), p.tolist(), wrong.tolist(), strict=True):
        a = 1 / (1 + math.exp(20 * (max(row) - 0.8)))
        assert got == pytest.approx([(1 - a) * b + a * c for b, c in zip(row, other, strict=True)], abs=1e-6)
    torch.testing.assert_close(replace(fitted, tau=2.0)(p, x), wrong)
    gate = Gated(
        Misinformation(misinformation=fitted.misinformation), score=MaxProbability(), threshold=0.8, width=0.05
    )
    torch.testing.assert_close(gate(p, x), q, atol=2e-6, rtol=0)


def test_a_steep_switch_is_a_number(fitted, digits, victim):
    x = digits.test.inputs(slice(0, 60))
    p = victims.predict(victim, x)
    q = replace(fitted, nu=1e30)(p, x)
    sure = p.amax(-1) > 0.7
    assert 0 < sure.sum() < 60
    assert torch.equal(q[sure], p[sure])
    torch.testing.assert_close(q[~sure], victims.predict(fitted.misinformation.model, x[~sure]))


def test_certain_logits_overflow_nothing():
    """−log(1 − p) with p = 1 in float32 is infinite; in logits it is the distance to the runner-up."""
    z = torch.tensor([[300.0, 0.0, -5.0]], requires_grad=True)
    loss = misinformation_loss(
        lambda x: z.expand(2, 3), Batch(torch.zeros(1, 1), torch.tensor([0]), torch.zeros(1, 1), torch.tensor([1]))
    )
    loss.backward()
    assert loss.item() == pytest.approx(300.0, abs=0.01)
    assert z.grad.isfinite().all()


@pytest.mark.slow
def test_same_seed_same_networks_and_the_random_state_is_left_alone(fitted, ensemble, victim, digits, outliers):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    again = AdaptiveMisinformation(training=SHORT).fit(victim, digits.train, outliers=outliers)
    assert again == fitted
    assert again != AdaptiveMisinformation(training=SHORT).fit(victim, digits.train, outliers=outliers, seed=1)
    assert ensemble == replace(ensemble, hash_model=None, ensemble=()).fit(victim, digits.train, outliers=outliers)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["fitted", "ensemble"])
def test_what_cannot_be_answered_is_refused(name, request, digits):
    recipe = request.getfixturevalue(name)
    p, x = torch.full((4, 10), 0.1), digits.test.inputs(slice(0, 4))
    for bad_p, bad_x, says in (
        (p, None, "call it as"),
        (p, x[:3], "fit it to this victim"),
        (p, torch.zeros(4, 3, 8, 8), "fit it to this victim"),
        (torch.full((4, 5), 0.2), x, "fit it to this victim"),
    ):
        with pytest.raises(BadInput, match=says):
            recipe(bad_p, bad_x)
    bare = AdaptiveMisinformation() if name == "fitted" else EDM()
    with pytest.raises(NotFitted, match="--outliers"):
        bare(p, x)
    with pytest.raises(BadInput, match="--outliers"):
        bare.fit(Network("mlp", (1, 8, 8), 10).build(), digits.train)


def test_outliers_of_one_class_make_no_hash(victim, digits):
    with pytest.raises(BadInput, match="two or more"):
        EDM().fit(victim, digits.train, outliers=Split.of(255 - digits.pool.values[:9], np.zeros(9)))


def test_each_query_is_answered_by_the_member_of_its_hash(ensemble, digits):
    x = torch.cat(
        [digits.test.inputs(slice(0, 40)), torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))]
    )
    q = ensemble(torch.full((80, 10), 0.1), x)
    h = victims.predict(ensemble.hash_model.model, x)
    members = []
    for row, answer, one in zip(h.double().tolist(), q, x, strict=True):
        fine = math.floor((len(row) * max(row) - 1) * 2 / (len(row) - 1))
        members.append((2 * row.index(max(row)) + fine) % 3)
        model = ensemble.ensemble[members[-1]].model
        torch.testing.assert_close(answer, victims.predict(model, one[None])[0])
    assert set(members) == {0, 1, 2}


@pytest.mark.slow
def test_members_agree_on_the_task_and_less_on_outliers_than_without_diversity(ensemble, victim, digits, outliers):
    alike = replace(ensemble, diversity=0.0, hash_model=None, ensemble=()).fit(victim, digits.train, outliers=outliers)
    measured = []
    for recipe in (ensemble, alike):
        for member in recipe.ensemble:
            assert (victims.answers(member.model, digits.train).argmax(-1) == digits.train.labels).float().mean() > 0.85
        measured.append(coherence(torch.stack([victims.answers(member.model, outliers) for member in recipe.ensemble])))
    assert measured[0] < measured[1] - 0.1


def test_coherence_is_the_sum_over_pairs():
    p = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0)).softmax(-1)
    rows = []
    for n in range(3):
        pairs = combinations(p[:, n], 2)
        rows.append(math.log(sum(math.exp((a @ b / (a.norm() * b.norm())).item()) for a, b in pairs)))
    assert coherence(p).item() == pytest.approx(np.mean(rows), abs=1e-6)


def test_stored_and_loaded_they_answer_the_same_on_a_line(fitted, ensemble, victim, digits, tmp_path):
    from feint.defenses.parsing import parse_defense
    from feint.recipes import store

    query = Query(digits.test.inputs(slice(0, 9)))
    for name, recipe in {"fitted": fitted, "ensemble": ensemble}.items():
        store.save(tmp_path / name, recipe)
        loaded = parse_defense([str(tmp_path / name)])
        assert loaded == Defense(outputs=[recipe])
        assert_close(Service(victim, loaded)(query).p, Service(victim, Defense(outputs=[recipe]))(query).p)
