"""Marked answers tell whose answers a copy was made of."""

import numpy as np
import pytest
import torch
from tests.examples import DOMAINS
from tests.support.problems import LinearOn

from feint.defense import Defense, Ladder
from feint.defenses.boundary import ClassFeatureWatermark
from feint.defenses.outputs import LabelFlip, Marked
from feint.errors import BadInput, BadRecipe
from feint.ledger import Ledger
from feint.ownership import flips, marked_answers, trained_mark
from feint.query import Query
from feint.service import Service
from feint.victims import predict


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_a_client_s_marked_answers_are_stored_in_its_account(domain):
    model, x = LinearOn(domain, 5).eval(), torch.from_numpy(domain.sample(200, 1))
    x = torch.from_numpy(domain.decode(domain.encode(x.numpy())))
    service = Service(model, Defense(outputs=[Marked("secret", rate=0.3)]))
    q = service(Query(x, "mallory")).p.argmax(-1)
    service(Query(x[:1], "alice"))
    changed = q != predict(model, x).argmax(-1)
    mark = marked_answers(service.ledger["mallory"], domain, 5)
    assert 20 < len(mark) == changed.sum()
    np.testing.assert_array_equal(mark.x, x[changed])
    assert mark.labels.tolist() == q[changed].tolist()


def test_the_same_input_has_the_same_answer_on_every_replica_and_for_every_client():
    domain = next(iter(DOMAINS.values()))
    model, x = LinearOn(domain, 5).eval(), torch.from_numpy(domain.sample(300, 1))
    replicas = [Service(model, Defense(outputs=[Marked("secret", rate=0.1)])) for _ in range(2)]
    first, second = (replica(Query(x, name)).p for replica, name in zip(replicas, ("a", "b"), strict=True))
    assert torch.equal(first, second)
    other = Service(model, Defense(outputs=[Marked("another", rate=0.1)]))(Query(x, "a")).p
    assert not torch.equal(first, other)


def test_the_share_of_marked_answers_is_the_rate():
    domain = next(iter(DOMAINS.values()))
    p = torch.eye(5)[torch.zeros(20_000, dtype=torch.long)]
    q = Marked("secret", rate=0.005)(p, torch.from_numpy(domain.sample(20_000, 3)))
    assert 60 <= int((q.argmax(-1) != 0).sum()) <= 140


def test_answers_of_which_the_model_is_unsure_alone_are_marked_with_the_second_class():
    domain, random = next(iter(DOMAINS.values())), torch.Generator().manual_seed(0)
    p = torch.softmax(3 * torch.randn(4000, 5, generator=random), -1)
    q = Marked("secret", rate=0.3, margin=0.2)(p, torch.from_numpy(domain.sample(4000, 3)))
    order, margins = p.argsort(-1, descending=True), p.sort(-1).values.diff(dim=-1)[:, -1]
    changed = (q != p).any(-1)
    assert 0.25 <= changed[margins < 0.2].float().mean() <= 0.35
    assert not changed[margins >= 0.2].any()
    assert torch.equal(q[changed].argmax(-1), order[changed, 1])
    assert (q[changed].amax(-1) >= 0.9).all()


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.5])
def test_a_margin_is_a_difference_of_probabilities(margin):
    with pytest.raises(BadRecipe, match="0 < margin ≤ 1"):
        Marked("secret", margin=margin)


def test_answers_are_marked_on_a_rung_of_a_ladder():
    class Marks:
        def observe(self, query, z, account):
            return 1.0

    domain = next(iter(DOMAINS.values()))
    model, x = LinearOn(domain, 5).eval(), torch.from_numpy(domain.sample(50, 1))
    rungs = [Defense(), Defense(outputs=[Marked("secret", rate=1.0)])]
    service = Service(model, Ladder([Marks()], rungs))
    service(Query(x, "mallory"))
    assert len(marked_answers(service.ledger["mallory"], domain, 5)) == 50


def test_an_account_stores_so_many_marked_inputs_at_most():
    domain = next(iter(DOMAINS.values()))
    service = Service(LinearOn(domain, 5).eval(), Defense(outputs=[Marked("secret", rate=1.0, most=7)]))
    service(Query(torch.from_numpy(domain.sample(50, 1)), "mallory"))
    assert len(marked_answers(service.ledger["mallory"], domain, 5)) == 7


def test_a_client_without_marked_answers_is_an_error():
    with pytest.raises(BadInput, match="without marked answers"):
        marked_answers(Ledger()["alice"], next(iter(DOMAINS.values())), 5)


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_flipped_labels_are_a_mark(domain):
    model, x = LinearOn(domain, 5).eval(), torch.from_numpy(domain.sample(60, 1))
    service = Service(model, Defense(outputs=[LabelFlip("secret")]))
    service(Query(x))
    mark = flips(service.ledger.shared, domain, 5)
    assert len(mark) > 20
    assert (predict(model, mark.x).argmax(-1).numpy() != mark.labels).all()
    with pytest.raises(BadInput, match="no evidence"):
        flips(Ledger().shared, domain, 5)


def test_a_class_feature_mark_is_of_whole_classes_of_the_outliers(digits):
    recipe = ClassFeatureWatermark(count=30, sources=2, target=4)
    mark = trained_mark(recipe, digits.pool, 10)
    assert len(mark) == 30
    assert set(mark.labels.tolist()) == {4}
    rows = {
        row.tobytes(): label
        for row, label in zip(digits.pool.inputs().numpy(), digits.pool.labels.tolist(), strict=True)
    }
    assert len({rows[x.numpy().tobytes()] for x in mark.x}) == 2
    with pytest.raises(BadInput, match="outliers of 2 classes"):
        trained_mark(ClassFeatureWatermark(count=5000, sources=2), digits.pool, 10)
    with pytest.raises(BadInput, match="the label 4 of 3"):
        trained_mark(recipe, digits.pool, 3)
