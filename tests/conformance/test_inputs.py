"""Contracts of input defenses on images; test_input_domains.py has those of the other domains."""

import math

import pytest
import torch
from tests import examples
from torch import nn

from feint.defenses.inputs import (
    APMSA,
    Input,
)
from feint.errors import BadInput
from feint.query import Query
from feint.service import Defense, Service
from feint.victims import predict

ON_IMAGES = {name: example for name, example in examples.INPUTS.items() if example.domain == "Pixels"}
CASES, IDENTITIES = examples.cases(ON_IMAGES), examples.identities(ON_IMAGES)

KEEP_THE_LABEL = [name for name, case in CASES.items() if isinstance(case, APMSA)]


def network(kind: str) -> nn.Module:
    """A victim of 8×8 images with random weights, confident as trained ones are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = {
            "MLP": [nn.Flatten(), nn.Linear(64, 32), nn.ReLU(inplace=True), nn.Linear(32, 10)],
            "CNN": [nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.Flatten(), nn.Linear(32, 10)],
            "BatchNorm": [nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)],
        }[kind]
        model = nn.Sequential(*layers)
        model(torch.rand(64, 1, 8, 8))  # the normalisation's averages
    model[-1].weight.data *= 40
    return model.eval()


MODELS = {kind: network(kind) for kind in ("MLP", "CNN", "BatchNorm")}
DRAWN = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).mul(255).round().div(255)
X = torch.cat([DRAWN, DRAWN[:1].round(), torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)])

every = pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in CASES for kind in MODELS])


@every
def test_the_range_shape_and_type_are_kept_and_the_model_is_left_as_it_was(name, kind):
    model = network(kind)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    sent = X.clone()
    x = CASES[name](sent, model)
    assert torch.equal(sent, X)
    assert x.shape == X.shape
    assert x.dtype == X.dtype
    assert not x.requires_grad
    assert x.isfinite().all()
    assert (x >= 0).all()
    assert (x <= 1).all()
    assert not torch.equal(x, X)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert all(torch.equal(w.grad, torch.ones_like(w)) and w.requires_grad for w in model.parameters())
    assert not model.training


@pytest.mark.slow
@every
def test_a_batch_equals_its_rows_one_by_one(name, kind):
    one_by_one = torch.cat([CASES[name](row[None], MODELS[kind]) for row in X])
    torch.testing.assert_close(CASES[name](X, MODELS[kind]), one_by_one, atol=1e-5, rtol=0)


@pytest.mark.slow
@every
def test_the_same_query_gets_the_same_answer_whatever_the_caller_switched_off(name, kind):
    defense, model, state = CASES[name], MODELS[kind], torch.get_rng_state()
    x = defense(X, model)
    with torch.no_grad():
        assert torch.equal(defense(X, model), x)
    with torch.inference_mode():
        assert torch.equal(defense(X.clone(), model), x)
    assert torch.equal(defense(X.clone().requires_grad_(), model), x)
    assert torch.equal(torch.get_rng_state(), state)


@every
@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (1, 1, 8, 8)], ids=["no rows", "one row"])
def test_small_batches(name, kind, shape):
    assert CASES[name](torch.rand(shape), MODELS[kind]).shape == shape


@pytest.mark.parametrize("name", IDENTITIES)
def test_strength_zero_is_the_identity(name):
    assert torch.equal(IDENTITIES[name](X, MODELS["CNN"]), X)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", KEEP_THE_LABEL)
def test_the_label_is_kept_on_the_line_in_a_batch_and_alone(name, kind):
    model, service = MODELS[kind], Service(MODELS[kind], Defense(inputs=[CASES[name]]))
    label = predict(model, X).argmax(-1)
    batch = service(Query(X)).p
    alone = torch.cat([service(Query(row[None])).p for row in X])
    perturbed = CASES[name](X, model)
    elsewhere = torch.cat([predict(model, row[None]) for row in perturbed])
    for p in (batch, alone, elsewhere):
        assert torch.equal(p.argmax(-1), label)
        assert torch.equal((p * 1e6).round().argmax(-1), label)


@pytest.mark.parametrize(
    "x",
    [X + 0.5, X - 0.5, X.clone().fill_(math.nan), (X * 255).to(torch.uint8), X[0, 0, 0]],
    ids=["above", "below", "NaN", "integers", "one row of one image"],
)
@pytest.mark.parametrize("name", CASES)
def test_anything_but_inputs_in_zero_to_one_is_refused(name, x):
    with pytest.raises(BadInput, match="expected"):
        CASES[name](x, MODELS["MLP"])


@pytest.mark.parametrize("name", CASES)
def test_a_model_in_training_mode_is_refused(name):
    with pytest.raises(BadInput, match="eval"):
        CASES[name](X, network("BatchNorm").train())


class Careless(Input):
    """A method that breaks the contract."""

    def __init__(self, result: torch.Tensor) -> None:
        self.result = result

    def perturb(self, x, model):
        return self.result


@pytest.mark.parametrize("result", [X + 1, X * math.nan, X[1:], X.double()], ids=["range", "NaN", "shape", "type"])
def test_invalid_result_of_an_input_defense_is_refused(result):
    with pytest.raises(BadInput):
        Careless(result)(X, MODELS["MLP"])
