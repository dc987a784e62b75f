"""The contract of keyed defenses: what is drawn by the mark of an input is answered by nothing but the mark."""

import asyncio

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests import examples
from tests.examples import DOMAINS
from tests.support.problems import LinearOn

from feint import Defense, Service, export
from feint.defense import Ladder, draws
from feint.defenses.access import SequentialTest
from feint.defenses.inputs import Blur
from feint.defenses.outputs import Gated, GaussianNoise, ReverseSigmoid
from feint.defenses.scores import MaxProbability
from feint.errors import NotExportable
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends.torch_pipeline import TorchPipeline
from feint.ledger import Ledger
from feint.query import Query
from feint.signature import mark

IMAGES = DOMAINS["Pixels"]
KEYED = {name: recipe for name, recipe in examples.OUTPUT_CASES.items() if draws(recipe)}


def beside(x):
    """Return other inputs with the marks of these (N, …): as far off as they may be, where there is such a thing."""
    off = np.random.default_rng(1).uniform(-0.49, 0.49, x.shape)
    if x.dtype == np.float32:
        return ((np.rint(x * 255) + off).clip(0, 255) / 255).astype(np.float32)
    return np.where(x % 1, x * (1 + 1e-7 * off), x) if x.dtype == np.float64 else x.copy()  # codes and ages are whole


def pairs(kind, n=20):
    x = DOMAINS[kind].sample(n, 3)
    near = beside(DOMAINS[kind].quantize(x))
    assert mark(x) == mark(near)
    assert np.issubdtype(x.dtype, np.integer) or (x != near).any()
    return torch.from_numpy(x), torch.from_numpy(near)


@pytest.mark.parametrize("kind", DOMAINS)
def test_quantized_inputs_stand_for_all_with_their_marks(kind):
    domain, (x, near) = DOMAINS[kind], (part.numpy() for part in pairs(kind, 200))
    quantized = domain.quantize(x)
    assert quantized.dtype == domain.dtype
    assert mark(quantized) == mark(x)
    for other in (near, quantized, x.copy(order="F")):
        assert domain.quantize(other).tobytes() == quantized.tobytes()
    domain.check(quantized)


def test_missing_values_and_signed_zeros_have_one_form():
    x = np.array([[-0.0, np.nan, 1e-12], [0.0, np.uint64(0xFFF8000000000001).view(np.float64), 1e-12]])
    quantized = DOMAINS["Columns"].quantize(x)
    assert quantized[0].tobytes() == quantized[1].tobytes()
    levels = IMAGES.quantize(np.array([[-0.0, 0.0]], np.float32))
    assert not np.signbit(levels).any()


@pytest.mark.parametrize("kind", DOMAINS)
@pytest.mark.parametrize("name", KEYED)
def test_a_keyed_defense_answers_the_mark(name, kind):
    service = Service(LinearOn(DOMAINS[kind], 3).eval(), Defense(outputs=[KEYED[name]]))
    x, near = pairs(kind)
    assert torch.equal(service(Query(x)).p, service(Query(near)).p)


@pytest.mark.parametrize("name", [name for name, example in examples.INPUTS.items() if draws(example.recipe)])
def test_a_keyed_input_defense_answers_the_mark(name):
    defense = examples.INPUTS[name].recipe
    x, near = pairs("Pixels")
    if hasattr(defense, "fit_inputs"):
        defense = defense.fit_inputs(x)
    model = LinearOn(IMAGES, 3).eval()
    assert torch.equal(defense(x, model), defense(near, model))


DEFENSES = {
    "a blur before": Defense(inputs=[Blur()], outputs=[GaussianNoise("secret")]),
    "within a gate": Defense(outputs=[Gated(GaussianNoise("secret"), score=MaxProbability(), threshold=2.0)]),
    "on a rung": Ladder([SequentialTest()], [Defense(outputs=[GaussianNoise("secret")]), Defense()]),
}


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_with_a_keyed_part_is_keyed(name):
    assert DEFENSES[name].keyed
    assert not Defense(outputs=[ReverseSigmoid()]).keyed


def test_a_model_behind_a_blur_sees_the_marks_of_blurred_inputs():
    """Otherwise whole levels, of which a blur leaves a part, would be differences that no draw sees."""
    seen = []

    class Model(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)[:, :3]

    service = Service(Model(), DEFENSES["a blur before"])
    service(Query(pairs("Pixels")[0]))
    assert all(np.array_equal(x.numpy(), IMAGES.quantize(x.numpy())) for x in seen)


def test_a_defense_without_a_key_sees_inputs_as_they_are():
    x, near = pairs("Pixels")
    service = Service(LinearOn(IMAGES, 3).eval(), Defense(outputs=[ReverseSigmoid()]))
    assert not torch.equal(service(Query(x)).p, service(Query(near)).p)


def test_the_gateway_answers_the_mark():
    pipeline = TorchPipeline(Service(LinearOn(IMAGES, 3).eval(), Defense(outputs=[GaussianNoise("secret")])))

    async def ask(x):
        query = ArrayQuery(x.numpy(), "ann")
        return await pipeline.answer(query, await pipeline.compute(query), Ledger()["ann"])

    first, second = (asyncio.run(ask(x)) for x in pairs("Pixels"))
    pipeline.close()
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("recipe", KEYED.values(), ids=KEYED)
def test_what_draws_by_a_mark_is_in_no_graph(recipe, tmp_path):
    with pytest.raises(NotExportable) as raised:
        export.outputs(Defense(outputs=[recipe]), tmp_path / "p.onnx", classes=3)
    assert type(recipe).__name__ in str(raised.value)
    assert "secret" not in str(raised.value)
    assert not (tmp_path / "p.onnx").exists()


@pytest.mark.parametrize("step", [0.45, 1.0], ids=["within a level", "by a level"])
def test_no_gradient_is_read_from_differences(step, victim, digits):
    """129 inputs at distances of `step` levels gave the gradient of the top class with a cosine of 0.995."""
    x = digits.test.inputs(slice(0, 5)).clamp(1 / 255, 254 / 255)
    service = Service(victim, Defense(outputs=[GaussianNoise("secret")]))
    moves = torch.eye(64).reshape(-1, *x.shape[1:]) * step / 255
    for image in x[:, None]:
        leaf = image.clone().requires_grad_()
        F.log_softmax(victim(leaf), -1).amax().backward()
        answers = service(Query(torch.cat([image + moves, image - moves]).clamp(0, 1))).p
        top = victim(image).argmax().item()
        slope = answers[:64, top].log() - answers[64:, top].log()
        true = leaf.grad.flatten()
        assert F.cosine_similarity(slope, true, dim=0).abs() < 0.5 or slope.abs().max() == 0
