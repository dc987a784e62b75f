"""Contracts of boundary defenses over the domains."""

import numpy as np
import pytest
import torch
from tests import examples
from tests.support.problems import LinearOn

from feint import victims
from feint.data import Split
from feint.errors import BadInput
from feint.models.charts import chart
from feint.models.networks import Network
from feint.signature import Column, Columns, Tokens

METHODS = {name: example.recipe for name, example in examples.BOUNDARY.items()}
CASES = [(name, domain) for name in METHODS for domain in examples.DOMAINS]


def split(domain: str, n: int, seed: int) -> Split:
    kind = examples.DOMAINS[domain]
    x = kind.sample(n, seed)
    labels = LinearOn(kind)(torch.from_numpy(x)).argmax(-1)
    return Split.of(kind.encode(x), labels.numpy(), domain=kind, name="sampled")


@pytest.mark.parametrize(("name", "domain"), CASES)
def test_a_new_model_comes_back_or_the_domain_is_refused_with_what_takes_it(name, domain):
    victim = Network("mlp", examples.DOMAINS[domain], 3).build(1).eval()
    inputs, outliers = split(domain, 90, 1), split(domain, 40, 2)
    method, before = METHODS[name], victims.fingerprint(victim)
    if not issubclass(type(examples.DOMAINS[domain]), method.domains):
        with pytest.raises(BadInput, match=f"for {name}; expected images or rows; use .*NastyTeacher"):
            method.retrain(victim, inputs, outliers=outliers)
        return
    new, record = method.retrain(victim, inputs, outliers=outliers)
    assert victims.fingerprint(victim) == before != victims.fingerprint(new)
    assert np.isfinite(record["losses"]).all()
    assert victims.answers(new, inputs).isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_a_victim_that_no_training_can_change_is_refused(name):
    with pytest.raises(BadInput, match=r"LinearOn.*use an output defense"):
        METHODS[name].retrain(
            LinearOn(examples.DOMAINS["Columns"]), split("Columns", 50, 1), outliers=split("Columns", 50, 2)
        )


def test_outliers_of_another_domain_are_refused_before_a_training():
    domain = examples.DOMAINS["Columns"]
    victim = Network("mlp", domain, 3).build(1).eval()
    other = Columns((*domain.columns[:3], Column("grade", tuple("abcdef"), optional=True)))
    wrong = Split.of(other.sample(50, 1), np.zeros(50, np.int64), domain=other)
    tokens = Split.of(np.ones((50, 4), np.int32), np.zeros(50, np.int64), domain=Tokens(4, 9))
    for outliers in (wrong, tokens):
        with pytest.raises(BadInput, match=r"'member'|float64"):
            METHODS["OutlierExposure"].retrain(victim, split("Columns", 50, 1), outliers=outliers)
    named_alike = Split.of(domain.sample(50, 1), np.zeros(50, np.int64), domain=Columns(other.columns))
    METHODS["OutlierExposure"].retrain(victim, split("Columns", 50, 1), outliers=named_alike)


def test_the_worst_row_is_of_the_domain_and_near():
    domain, method = examples.DOMAINS["Columns"], METHODS["AdversarialTraining"]
    x = torch.from_numpy(domain.sample(60, 1))
    x[:, 0] = x[:, 0].clamp(18, 89)
    model = LinearOn(domain).eval()
    worst = method.worst(model, x, model(x).argmax(-1))
    domain.check(worst.numpy())
    moved = (chart(domain, worst).start - chart(domain, x).start).abs()
    assert moved[:, 1].max() <= method.radius + 1e-9
    assert moved[:, 0].max() <= method.radius + 0.5 / (90 - 17) + 1e-9  # rounded to whole years
    assert moved[:, 1].max() > method.radius / 2
    assert torch.equal(worst[:, 2], x[:, 2])
    assert torch.equal(worst.isnan(), x.isnan())
    assert torch.equal(worst[:, 0], worst[:, 0].round())
