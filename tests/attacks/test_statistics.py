"""Queries without data: from published statistics, or uniform."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tests.examples import DOMAINS, toy_on
from tests.support.problems import Letters
from tests.support.tables import table, victim_of

from feint.attacks import KnockoffNets, Marginals, Uniform
from feint.errors import BadInput
from feint.models.networks import Network
from feint.models.training import Training
from feint.service import Service
from feint.signature import Column, Columns, mark

SHORT = Training(epochs=1)


def asked(attack, seed=0):
    domain = attack.surrogate.domain
    oracle = Service(toy_on(domain)).oracle(client="a", budget=1200)
    attack.steal(oracle, seed=seed)
    domain.check(oracle.transcript.x.numpy())
    return oracle.transcript.x


def test_marginals_follow_the_published_statistics():
    x = asked(Marginals(Network("linear", DOMAINS["Columns"], 3), SHORT))
    assert x[:, 0].mean() == pytest.approx(38.6 + 1, abs=2)  # clipped at 17
    assert x[:, 1].nanmean() == pytest.approx(2.5e4, rel=0.05)
    assert x[:, 1].isnan().double().mean() == pytest.approx(0.1, abs=0.03)
    assert (x[:, 2] == 0).double().mean() == pytest.approx(0.5, abs=0.05)


def test_uniform_follows_the_ranges_alone():
    x = asked(Uniform(Network("linear", DOMAINS["Columns"], 3), SHORT))
    assert x[:, 0].mean() == pytest.approx(53.5, abs=3)
    assert (x[:, 2] == 0).double().mean() == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("kind", DOMAINS)
def test_every_query_is_another_one(kind):
    attack = Uniform(Network("mlp", DOMAINS[kind], 3), SHORT)
    first, again, other = (asked(attack, seed) for seed in (0, 0, 1))
    assert len({*mark(first.numpy())}) > 1100
    assert mark(first.numpy()) == mark(again.numpy()) != mark(other.numpy())


def test_columns_that_publish_nothing_are_refused_before_the_first_query():
    domain = Columns((Column("x", low=0, high=1), Column("city", ("Oslo", "Wien"))))
    oracle = Service(Letters(domain)).oracle(client="a", budget=9)
    with pytest.raises(BadInput, match="use Uniform"):
        Marginals(Network("linear", domain, 3)).steal(oracle)
    assert oracle.asked == 0


@pytest.mark.slow
def test_statistics_steal_adult_nearly_as_well_as_rows_do():
    train, test = table("adult")
    victim, network = (
        victim_of(LogisticRegression(max_iter=1000), train, scaled=True),
        Network("linear", train.domain, 2),
    )
    training = Training(epochs=60, learning_rate=0.05)
    agreement = []
    for attack in (KnockoffNets(train, network, training), Marginals(network, training), Uniform(network, training)):
        stolen = attack.steal(Service(victim).oracle(client="a", budget=1000))
        agreement.append(float((stolen(test.inputs()).argmax(-1) == victim(test.inputs()).argmax(-1)).float().mean()))
    majority = np.bincount(victim(test.inputs()).argmax(-1)).max() / len(test)
    assert agreement[0] > 0.97
    assert agreement[1] > max(0.9, majority)
