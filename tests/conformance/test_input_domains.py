"""Contracts of input defenses over the domains: each method keeps its own, and names what to use in the others."""

import numpy as np
import pytest
import torch
from tests import examples
from tests.support.problems import LinearOn

from feint.defenses.inputs import APMSA, DeepFool, Input
from feint.errors import BadInput
from feint.query import Query
from feint.service import Defense, Service
from feint.signature import Columns, Pixels, mark
from feint.victims import predict

METHODS = examples.cases(examples.INPUTS)
EVERY = [(name, domain) for name in METHODS for domain in examples.DOMAINS]
TAKEN = [(name, domain) for name, domain in EVERY if type(examples.DOMAINS[domain]) in METHODS[name].domains]
REFUSED = [pair for pair in EVERY if pair not in TAKEN]


def victim(domain: str) -> LinearOn:
    return LinearOn(examples.DOMAINS[domain]).eval()


def inputs(domain: str, n: int = 40) -> torch.Tensor:
    return torch.from_numpy(examples.DOMAINS[domain].sample(n, 2))


def marks(x: torch.Tensor) -> list[bytes]:
    return mark(x.numpy())


def test_every_domain_but_tokens_has_a_method_of_its_own():
    assert {domain for _, domain in TAKEN} == examples.DOMAINS.keys() - {"Tokens"}


@pytest.mark.parametrize(("name", "domain"), TAKEN)
def test_the_domain_shape_and_type_are_kept(name, domain):
    x = inputs(domain)
    sent = x.clone()
    y = METHODS[name](x, victim(domain))
    examples.DOMAINS[domain].check(y.numpy())
    assert marks(x) == marks(sent)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert np.array_equal(np.isnan(y.numpy()), np.isnan(x.numpy()))  # what is missing stays missing
    assert METHODS[name](x[:0], victim(domain)).shape == x[:0].shape


@pytest.mark.parametrize(("name", "domain"), TAKEN)
def test_a_batch_equals_its_rows_one_by_one(name, domain):
    x, model = inputs(domain), victim(domain)
    one_by_one = torch.cat([METHODS[name](row[None], model) for row in x])
    torch.testing.assert_close(METHODS[name](x, model), one_by_one, atol=1e-5, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("name", examples.identities(examples.INPUTS))
def test_strength_zero_is_the_identity(name):
    method, domain = examples.INPUTS[name].identity, examples.INPUTS[name].domain
    x = inputs(domain)
    assert marks(method(x, victim(domain))) == marks(x)


@pytest.mark.parametrize(("name", "domain"), REFUSED)
def test_another_domain_is_refused_with_what_does_that_job_there(name, domain):
    with pytest.raises(BadInput, match=f"for {type(METHODS[name]).__name__}; expected") as refusal:
        METHODS[name](inputs(domain), victim(domain))
    named = [method for method in examples.INPUTS if f"{method}" in str(refusal.value).partition("; use ")[2]]
    assert named or "an output defense" in str(refusal.value)
    assert all(type(examples.DOMAINS[domain]) in examples.INPUTS[method].recipe.domains for method in named)


class Careless(Input):
    """A method that leaves the domain."""

    def perturb(self, x, model):
        return x * 0 + 77 if x.dtype != torch.uint8 else torch.full_like(x, 255)


@pytest.mark.parametrize("domain", examples.DOMAINS)
def test_a_result_outside_the_domain_is_refused(domain):
    with pytest.raises(BadInput):
        Careless()(inputs(domain), victim(domain))


@pytest.mark.parametrize("step", [APMSA(), APMSA(step=DeepFool(), gap=0.1)], ids=repr)
def test_a_row_of_a_table_goes_to_the_edge_of_its_class_and_keeps_its_label(step):
    domain, model, x = examples.DOMAINS["Columns"], victim("Columns"), inputs("Columns", 60)
    label = predict(model, x).argmax(-1)
    service = Service(model, Defense(inputs=[step]))
    q = service(Query(x)).p
    assert torch.equal(q.argmax(-1), label)
    assert all(service(Query(row[None])).p.argmax(-1) == kind for row, kind in zip(x[:10], label, strict=False))
    top = q.topk(2).values
    before = predict(model, x).topk(2).values
    assert (top[:, 0] - top[:, 1]).median() < 0.2 * (before[:, 0] - before[:, 1]).median()
    y = step(x, model)
    numbers = [column.categories is None for column in domain.columns]
    assert not torch.equal(y[:, numbers], x[:, numbers])
    assert marks(y[:, [not number for number in numbers]]) == marks(x[:, [not number for number in numbers]])
    assert torch.equal(y[:, 0], y[:, 0].round())  # whole numbers stay whole


def test_a_table_without_ranges_and_a_model_without_gradients_are_refused():
    x = inputs("Columns")
    with pytest.raises(BadInput, match="without a range"):
        APMSA()(x, torch.nn.Sequential(torch.nn.Linear(4, 3, dtype=torch.float64)).eval())

    class Stump(torch.nn.Module):
        domain = examples.DOMAINS["Columns"]

        def forward(self, x):
            return torch.stack([(x[:, 0] > 40).float(), (x[:, 0] <= 40).float()], -1).detach() * 3

    with pytest.raises(BadInput, match=r"without gradients.*output defense"):
        APMSA()(x, Stump().eval())


def test_domains_are_declared_as_kinds():
    assert APMSA.domains == (Pixels, Columns)
    assert all(isinstance(method.domains, tuple) and method.domains for method in METHODS.values())
