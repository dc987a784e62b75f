"""`feint.export`: what the graph says is what the service says, and a file is read as it was written."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from tests.problems import awkward_rows, order

from feint import Defense, Service, export
from feint.defenses.access import Budget, RateLimit
from feint.defenses.outputs import APGP, APGPClosedForm, GaussianNoise
from feint.errors import BadInput, DamagedFile, MissingData, NotExportable
from feint.export.tracing import traced
from feint.gateway.graphs import Exported, softmax
from feint.query import Query


@pytest.fixture(scope="session")
def apgp(answers):
    return APGP(top=1, steps=60).fit_answers(answers)


@pytest.fixture(scope="session")
def whole(victim, apgp, digits, tmp_path_factory):
    """A service, and the file that was made of it for the gateway."""
    service = Service(victim, Defense(access=[Budget(100), RateLimit(5, 10.0)], outputs=[apgp]))
    path = tmp_path_factory.mktemp("export") / "digits.onnx"
    return service, export.onnx(service, path, inputs=digits.test.inputs(slice(0, 74)), gateway=True)


def test_the_graph_says_what_the_service_says(whole, digits):
    service, written = whole
    x = digits.test.inputs(slice(100, 300))
    said = Exported(written.path).run(x.numpy())
    expected = Service(service.model, replace(service.defense, access=()))(Query(x)).p
    assert np.abs(said.rungs[0] - expected.numpy()).max() <= 1e-5
    assert (said.rungs[0].argmax(-1) == expected.argmax(-1).numpy()).all()
    undefended = service.model(x).softmax(-1)
    assert said.moved is not None
    np.testing.assert_allclose(said.moved[0], (expected - undefended).abs().sum(-1).detach(), atol=1e-4)
    assert [len(it) for it in Exported(written.path).run(x[:0].numpy()).rungs] == [0]


def test_a_file_says_what_it_is(whole):
    service, written = whole
    read = Exported(written.path)
    assert (read.takes, read.input, read.shape, read.classes) == ("x", "x", (1, 8, 8), 10)
    assert read.rungs[0].access == service.defense.access == written.beside
    assert read.recipe is not None
    assert read.recipe["outputs"][0]["top"] == 1
    assert json.loads(json.dumps(read.recipe)) == read.recipe


def test_nothing_undefended_and_nothing_of_the_maker_is_in_the_file(whole):
    model = onnx.load(whole[1].path)
    assert [it.name for it in model.graph.output] == ["probabilities", "moved"]
    assert b".py" not in whole[1].path.read_bytes()


def test_a_damaged_or_foreign_file_is_a_typed_error(whole, tmp_path):
    content = whole[1].path.read_bytes()
    middle = len(content) // 2
    for i, damaged in enumerate([
        content[:middle], b"", b"no graph", content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        content.replace(b'"top": 1', b'"top": 2'),
    ]):  # fmt: skip
        path = tmp_path / f"{i}.onnx"
        path.write_bytes(damaged)
        with pytest.raises(DamagedFile):
            Exported(path)
    with pytest.raises(MissingData):
        Exported(tmp_path / "none.onnx")


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_the_outputs_alone_keep_the_order_of_awkward_rows(classes, tmp_path):
    p, defense = awkward_rows(classes), APGPClosedForm()
    export.outputs(Defense(outputs=[defense]), tmp_path / "q.onnx", classes=classes)
    graph = Exported(tmp_path / "q.onnx")
    (q,) = graph.run(p.numpy()).rungs
    assert np.abs(q - defense(p).numpy()).max() <= 1e-5
    assert torch.equal(order(torch.from_numpy(q)), order(p))
    with pytest.raises(BadInput):
        graph.run(p.numpy() * 2)


def test_keyed_noise_is_refused_by_name_and_nothing_is_written(tmp_path):
    defense = Defense(outputs=[APGPClosedForm(), GaussianNoise("secret")])
    with pytest.raises(NotExportable, match="GaussianNoise"):
        export.outputs(defense, tmp_path / "q.onnx", classes=10)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_differs_is_not_written(monkeypatch, tmp_path):
    from feint.export import check

    monkeypatch.setattr(check, "through", lambda outputs, p, x, z: p.flip(-1))
    with pytest.raises(NotExportable, match="from the service"):
        export.outputs(Defense(outputs=[APGPClosedForm()]), tmp_path / "q.onnx", classes=10)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_others_is_an_undefended_model(victim, digits, tmp_path):
    path = tmp_path / "bare.onnx"
    x = digits.test.inputs(slice(0, 5))
    onnx.save(traced(victim, ["x"], ["z"], x), path)
    read = Exported(path, answer=softmax)
    assert not read.defended
    np.testing.assert_allclose(read.run(x.numpy()).rungs[0], victim(x).softmax(-1).detach(), atol=1e-6)
