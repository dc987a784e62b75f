"""Contracts of output defenses on the inputs of every domain, with two classes and with three."""

import functools
import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tests import examples
from tests.support.problems import LinearOn

from feint.data import Split
from feint.defenses.outputs import Output
from feint.fitting import Fittable
from feint.models.training import Training
from feint.query import Query
from feint.service import Defense, Service
from feint.victims import predict

SHORT = Training(epochs=1, batch_size=32, learning_rate=0.02)
METHODS = {name: example.recipe for name, example in examples.OUTPUTS.items()}
KEYED = [name for name, method in METHODS.items() if method.randomised]
CASES = [(name, domain, k) for name in METHODS for domain in examples.DOMAINS for k in (2, 3)]


def split(domain: str, n: int, seed: int, classes: int) -> Split:
    kind = examples.DOMAINS[domain]
    x = kind.sample(n, seed)
    with torch.no_grad():
        labels = LinearOn(kind, classes)(torch.from_numpy(x)).argmax(-1)
    return Split.of(kind.encode(x), labels.numpy(), domain=kind, name="sampled")


@functools.cache
def fitted(name: str, domain: str, classes: int) -> Output:
    """The method as it comes, fitted to a victim that is no network of Feint's."""
    method = METHODS[name]
    if any(field.name == "training" for field in fields(method)):
        method = replace(method, training=SHORT)
    if not isinstance(method, Fittable):
        return method
    victim = LinearOn(examples.DOMAINS[domain], classes).eval()
    return method.fit(victim, split(domain, 120, 1, classes), outliers=split(domain, 60, 7, classes))


@pytest.mark.parametrize(("name", "domain", "classes"), CASES)
def test_every_defense_works_as_it_is(name, domain, classes):
    victim = LinearOn(examples.DOMAINS[domain], classes).eval()
    x = torch.from_numpy(examples.DOMAINS[domain].sample(20, 3))
    p, defense = predict(victim, x), fitted(name, domain, classes)
    service = Service(victim, Defense(outputs=[defense]))
    q = service(Query(x)).p
    assert q.shape == p.shape
    assert q.dtype == p.dtype
    assert q.isfinite().all()
    assert (q >= 0).all()
    assert (q.double().sum(-1) - 1).abs().max() < 1e-4
    if defense.preserves:
        assert torch.equal(q.argmax(-1), p.argmax(-1))
    single = Service(victim, Defense(outputs=[defense]))
    alone = torch.cat([single(Query(row[None])).p for row in x])
    torch.testing.assert_close(q, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "domain"), [(name, domain) for name in KEYED for domain in examples.DOMAINS])
def test_the_same_query_draws_the_same_answer_and_repeats_reveal_nothing(name, domain):
    kind = examples.DOMAINS[domain]
    defense, x = fitted(name, domain, 3), kind.sample(12, 4)
    p = torch.tensor([[0.5, 0.3, 0.2]]).expand(12, -1)
    read = torch.from_numpy(np.array(json.loads(json.dumps(x.tolist())), kind.dtype))
    x = torch.from_numpy(x)
    first = defense(p, x)
    assert all(torch.equal(defense(p, again), first) for again in (x.clone(), read))
    assert torch.equal(torch.cat([defense(p[:1], row[None]) for row in x]), first)
    if x.is_floating_point():
        assert torch.equal(defense(p, torch.from_numpy(np.nextafter(x.numpy(), np.array(1e9, kind.dtype)))), first)
    assert len(first.unique(dim=0)) > 1
