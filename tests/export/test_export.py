"""`feint.export`: graphs that equal their service, files, and refusals."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from feint import Defense, Service, export
from feint.defense import Ladder
from feint.defenses.access import PRADA, Budget, RateLimit, Refuse, SequentialTest
from feint.defenses.inputs import BitDepth
from feint.defenses.outputs import APGP, APGPClosedForm, GaussianNoise, LabelOnly
from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData, NotExportable
from feint.export.tracing import trace
from feint.gateway.backends.onnx_model import OnnxModel, softmax
from feint.ledger import Account
from feint.query import Query
from feint.signature import Pixels
from feint.victims import EstimatorModel, TorchModel, adapt, load_any, save


@pytest.fixture(scope="session")
def apgp(answers):
    return APGP(top=1, steps=60).fit_answers(answers)


@pytest.fixture(scope="session")
def whole(victim, apgp, digits, tmp_path_factory):
    """A service, and the file that was made of it for the gateway."""
    service = Service(victim, Defense(access=[Budget(100), RateLimit(5, 10)], outputs=[apgp]))
    path = tmp_path_factory.mktemp("export") / "digits.onnx"
    return service, export.onnx(service, path, inputs=digits.test.inputs(slice(0, 74)), gateway=True)


@pytest.mark.slow
def test_exported_graph_equals_the_service(whole, digits):
    service, written = whole
    x = digits.test.inputs(slice(100, 300))
    output = OnnxModel(written.path).run(x.numpy())
    expected = Service(service.model, replace(service.defense, access=()))(Query(x)).p
    assert np.abs(output.rungs[0] - expected.numpy()).max() <= 1e-5
    assert (output.rungs[0].argmax(-1) == expected.argmax(-1).numpy()).all()
    undefended = service.model(x).softmax(-1)
    assert output.moved is not None
    np.testing.assert_allclose(output.moved[0], (expected - undefended).abs().sum(-1).detach(), atol=1e-4)
    assert [len(rows) for rows in OnnxModel(written.path).run(x[:0].numpy()).rungs] == [0]


@pytest.mark.slow
def test_a_file_says_what_it_is(whole):
    service, written = whole
    read = OnnxModel(written.path)
    assert read.takes == "x"
    assert read.input == "x"
    assert read.shape == (1, 8, 8)
    assert read.classes == 10
    assert read.rungs[0].access == service.defense.access == written.beside
    assert read.recipe is not None
    assert read.recipe["outputs"][0]["top"] == 1
    assert json.loads(json.dumps(read.recipe)) == read.recipe


def test_nothing_undefended_and_nothing_of_the_maker_is_in_the_file(whole):
    model = onnx.load(whole[1].path)
    assert [output.name for output in model.graph.output] == ["probabilities", "moved"]
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
            OnnxModel(path)
    with pytest.raises(MissingData):
        OnnxModel(tmp_path / "none.onnx")


def test_keyed_noise_is_refused_by_name_and_nothing_is_written(tmp_path):
    defense = Defense(outputs=[APGPClosedForm(), GaussianNoise("secret")])
    with pytest.raises(NotExportable, match="GaussianNoise"):
        export.outputs(defense, tmp_path / "q.onnx", classes=10)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_onnxruntime_is_named_with_the_extra_of_an_export(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingData, match=r"no package 'onnxruntime'.*feint\[export\]"):
        export.outputs(Defense(outputs=[LabelOnly()]), tmp_path / "q.onnx", classes=10)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_graph_that_differs_is_not_written(monkeypatch, tmp_path):
    from feint.export import check

    monkeypatch.setattr(check, "apply_outputs", lambda outputs, p, x, z: p.flip(-1))
    with pytest.raises(NotExportable, match="from the service"):
        export.outputs(Defense(outputs=[LabelOnly()]), tmp_path / "q.onnx", classes=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_of_others_is_an_undefended_model(victim, digits, tmp_path):
    path = tmp_path / "bare.onnx"
    x = digits.test.inputs(slice(0, 5))
    onnx.save(trace(victim, ["x"], ["z"], x), path)
    read = OnnxModel(path)
    read.answer = softmax
    assert not read.defended
    np.testing.assert_allclose(read.run(x.numpy()).rungs[0], victim(x).softmax(-1).detach(), atol=1e-6)


@pytest.fixture(scope="session")
def ladder(victim, apgp, digits, tmp_path_factory):
    """A ladder, and the file that was made of it for the gateway."""
    test = SequentialTest().fit(victim, digits.test)
    rungs = [Defense(), Defense(outputs=[apgp]), Defense(access=[Refuse()])]
    service = Service(victim, Ladder([test], rungs, at=(0.0, 0.5, 1.0), access=[Budget(100)]))
    path = tmp_path_factory.mktemp("export") / "ladder.onnx"
    return service, export.onnx(service, path, inputs=digits.test.inputs(slice(0, 74)), gateway=True)


@pytest.mark.slow
def test_metadata_keys_are_those_of_every_file(whole):
    properties = onnx.load(whole[1].path).metadata_props
    names = ["digest", "domain", "fingerprint", "format", "labels", "learned", "recipe", "takes", "version"]
    assert sorted(entry.key for entry in properties) == [f"feint.{name}" for name in names]


@pytest.mark.slow
def test_a_ladder_goes_with_its_rungs_scores_and_bets(ladder, digits):
    service, written = ladder
    read, x = OnnxModel(written.path), digits.test.inputs(slice(0, 50))
    assert [(rung.at, rung.access) for rung in read.rungs] == [(0.0, ()), (0.5, ()), (1.0, (Refuse(),))]
    assert read.access == (Budget(100),)
    output, z = read.run(x.numpy()), service.model(x)
    test = service.defense.detectors[0]
    np.testing.assert_allclose(output.scores[0], test.score(x, z).detach(), rtol=1e-5)
    here = read.detectors[0].observe(output.scores[0], Query(x, time=0.0), Account("mallory"))
    assert here == pytest.approx(test.observe(Query(x, time=0.0), z.detach(), Account("mallory")), rel=1e-3)
    np.testing.assert_allclose(output.rungs[0], z.softmax(-1).detach(), atol=1e-6)
    np.testing.assert_allclose(output.rungs[1], service.defense.rungs[1].outputs[0](z.softmax(-1)), atol=1e-5)
    assert output.moved is not None
    assert output.moved[0].max() == 0 < output.moved[1].min()


def test_a_ladder_goes_to_no_other_server(ladder, tmp_path):
    with pytest.raises(NotExportable, match="--rung"):
        export.onnx(ladder[0], tmp_path / "any.onnx")
    defense = Ladder([PRADA()], [Defense(), Defense()])
    with pytest.raises(NotExportable, match="PRADA"):
        export.outputs(defense, tmp_path / "any.onnx", classes=10, gateway=True)
    with pytest.raises(NotExportable, match="BitDepth"):
        export.outputs(Defense(inputs=[BitDepth()]), tmp_path / "any.onnx", classes=10)


def test_a_rule_with_a_value_of_another_type_is_not_exported(tmp_path):
    defense = Defense(access=[RateLimit(5, 10.0)])  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadRecipe, match=r"burst = 10\.0 of RateLimit.*a whole number"):
        export.outputs(defense, tmp_path / "any.onnx", classes=10)
    assert not list(tmp_path.iterdir())


def test_a_file_is_read_and_run_without_torch(ladder):
    code = f"""
import sys; sys.modules["torch"] = None
import numpy as np
from feint.gateway.backends.onnx_model import OnnxModel
graph = OnnxModel({str(ladder[1].path)!r})
print([rung.shape for rung in graph.run(np.zeros((2, 1, 8, 8), "f4")).rungs], graph.access, graph.detectors[0].alpha)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[(2, 10), (2, 10), (2, 10)] (Budget(queries=100),) 0.001"


@pytest.mark.slow
def test_an_onnx_victim_is_stitched_to_its_defense(victim, digits, tmp_path):
    class Two(torch.nn.Module):  # its second output must not be exported
        def forward(self, x):
            return victim(x).softmax(-1), x.flatten(1)[:, None].expand(-1, 2, -1)

    x = digits.test.inputs(slice(0, 74))
    onnx.save(trace(Two(), ["image"], ["answer", "embedding"], x), tmp_path / "victim.onnx")
    model = load_any(tmp_path / "victim.onnx")
    written = export.onnx(Service(model, Defense(outputs=[LabelOnly()])), tmp_path / "q.onnx", inputs=x)
    read = OnnxModel(written.path)
    (q,) = read.run(x.numpy()).rungs
    assert (q.argmax(-1) == victim(x).argmax(-1).numpy()).all()
    assert sorted(set(q.ravel().tolist())) == [0, 1]
    assert [output.name for output in onnx.load(written.path).graph.output] == ["probabilities"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
def test_what_cannot_be_traced_is_named(tmp_path):
    class Branching(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    with pytest.raises(NotExportable, match="Branching"):
        export.onnx(Service(Branching()), tmp_path / "q.onnx", inputs=torch.rand(5, 4))
    with pytest.raises(BadInput, match="--data"):
        export.onnx(Service(Branching()), tmp_path / "q.onnx")
    model = adapt(EstimatorModel(DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])), Pixels((1,)))
    with pytest.raises(NotExportable, match=r"EstimatorModel.*feint serve MODEL"):
        export.onnx(Service(model), tmp_path / "q.onnx", inputs=torch.rand(5, 1))
    probabilities = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Softmax(1))
    script = adapt(TorchModel(torch.jit.script(probabilities)), Pixels((1,)))
    with pytest.raises(NotExportable, match=r"TorchScript.*feint serve MODEL.*torch\.export"):
        export.onnx(Service(script), tmp_path / "q.onnx", inputs=torch.rand(5, 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_writes_what_servers_read(run_cli, victim, tmp_path):
    save("victim", victim)
    code, out, err = run_cli("export victim --defense LabelOnly --for kserve --out models/digits")
    assert code == 0, err
    assert err == "", err
    assert "checked  74 rows" in out
    assert "with     models/digits/config.pbtxt, models/digits.yaml" in out
    config = (tmp_path / "models/digits/config.pbtxt").read_text()
    assert OnnxModel("models/digits/1/model.onnx").shape == (1, 8, 8)
    assert 'name: "digits"' in config
    assert "dims: [ 1, 8, 8 ]" in config
    manifest = (tmp_path / "models/digits.yaml").read_text()
    assert "name: digits" in manifest
    for line, word in {
        'export victim --defense "Budget(5)" --for triton --out models/b': "Budget",
        "export victim --for tritn --out b": "triton",
        "export --classes 10 --out b": "VICTIM",
        "export victim --classes 10 --out b": "VICTIM",
        "export victim --defense \"GaussianNoise('k')\" --out b": "GaussianNoise",
        "export victim --for kserve --out Big": "Big",
    }.items():
        code, out, err = run_cli(line)
        assert code == 2, line
        assert out == "", line
        assert err.count("\n") == 1, line
        assert word in err, line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "victim"]
