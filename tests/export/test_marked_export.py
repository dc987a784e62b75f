"""Marked answers of an exported file: the graph is before them, and the gateway that has the key makes them."""

import asyncio

import numpy as np
import pytest
import torch

from feint import Defense, Service, export, onnx_manifest
from feint.defenses.outputs import Marked, Rounding
from feint.errors import BadInput, MissingData, NotExportable
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends.onnx_model import OnnxModel
from feint.gateway.backends.registry import load_onnx
from feint.gateway.record import RequestRecord
from feint.gateway.settings import OnnxSettings
from feint.ledger import Account
from feint.query import Query

KEY = "the owner's secret key"
DEFENSE = Defense(outputs=[Rounding(3), Marked(KEY, rate=0.3)])


@pytest.fixture(scope="module")
def service(victim):
    return Service(victim, DEFENSE)


@pytest.fixture(scope="module")
def written(service, tmp_path_factory):
    return export.onnx(service, tmp_path_factory.mktemp("marked") / "digits.onnx", gateway=True)


@pytest.fixture
def loaded(written, tmp_path):
    (tmp_path / "mark.key").write_text(KEY)
    return asyncio.run(load_onnx(OnnxSettings(path=written.path, mark_key_file=tmp_path / "mark.key"), "digits"))


def test_the_file_does_not_hold_the_key(written):
    assert KEY.encode() not in written.path.read_bytes()
    assert KEY not in repr(written)


def test_a_gateway_that_knows_no_marks_does_not_take_the_file(written):
    (rung,) = OnnxModel(written.path).rungs
    assert [mark.rate for mark in rung.marks] == [0.3]
    plain = onnx_manifest.to_metadata(takes="p", fingerprint="", recipe={"kind": "Defense"}, learned={})
    assert plain["feint.format"] == "1" != onnx_manifest.MARKED


@pytest.mark.parametrize("key", ["", "another"])
def test_without_the_key_nothing_is_served(written, tmp_path, key):
    (tmp_path / "mark.key").write_text(key)
    with pytest.raises(BadInput, match="key for marked answers"):
        asyncio.run(load_onnx(OnnxSettings(path=written.path, mark_key_file=tmp_path / "mark.key"), "digits"))


def test_without_the_named_variable_nothing_is_served(written):
    with pytest.raises(MissingData, match="NO_SUCH_KEY"):
        asyncio.run(load_onnx(OnnxSettings(path=written.path, mark_key_env="NO_SUCH_KEY"), "digits"))


def test_another_server_gets_no_file_without_the_marks(service, tmp_path):
    with pytest.raises(NotExportable, match=r"Marked.*--for gateway"):
        export.onnx(service, tmp_path / "any.onnx")


def test_marks_before_another_output_defense_are_refused(victim, tmp_path):
    early = Defense(outputs=[Marked(KEY), Rounding(3)])
    with pytest.raises(NotExportable, match=r"Marked.*last"):
        export.onnx(Service(victim, early), tmp_path / "any.onnx", gateway=True)


def test_inputs_that_draw_alike_are_answered_alike(loaded, digits):
    x = (digits.test.inputs(slice(0, 20)).numpy() * 255).round().astype(np.float32) / 255
    near = np.clip(x + 0.0015, 0, 1).astype(np.float32)
    first, second = (asyncio.run(loaded.pipeline.compute(ArrayQuery(each, "ann"))).rungs[0] for each in (x, near))
    np.testing.assert_array_equal(first, second)


def test_answers_without_a_ledger_are_marked_too(loaded, service, digits):
    x = digits.test.inputs(slice(0, 40))
    query = ArrayQuery(x.numpy(), "ann")
    q = asyncio.run(strongest(loaded.pipeline, query))
    np.testing.assert_allclose(q, service(Query(x)).p.numpy(), atol=1e-5)


async def strongest(pipeline, query):
    return await pipeline.strongest(query, await pipeline.compute(query))


def test_the_record_has_how_far_marks_move_answers(loaded, digits):
    query, record = ArrayQuery(digits.test.inputs(slice(0, 40)).numpy(), "ann"), RequestRecord("digits", "ann", 40, 0.0)
    computed = asyncio.run(loaded.pipeline.compute(query))
    q = asyncio.run(loaded.pipeline.answer(query, computed, Account("ann"), record))
    distance = np.abs(q - computed.rungs[0]).sum(-1).mean() + computed.moved[0].mean()
    assert record.moved == pytest.approx(distance, rel=1e-5)
    assert distance > 0.1


def test_output_defenses_alone_go_with_their_marks(tmp_path):
    written = export.outputs(DEFENSE, tmp_path / "outputs.onnx", classes=10, gateway=True)
    (rung,) = OnnxModel(written.path).rungs
    p, x = np.eye(10, dtype=np.float32), np.random.default_rng(0).random((10, 1, 8, 8), np.float32)
    q = rung.marks[0].unlocked(KEY).perturb(p, x)
    expected = Marked(KEY, rate=0.3)(torch.from_numpy(p), torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(q, expected)
