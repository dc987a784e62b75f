"""Victims from files and code: each answers as the model that it was made of, and says what it cannot be."""

import pickle
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from tests.support.variance import assert_close
from torch.onnx import export

from feint import cli, victims
from feint.defenses.inputs import APMSA
from feint.errors import BadInput, DamagedFile, MissingData, OverBudget, Unreachable
from feint.models import networks
from feint.query import Query
from feint.service import Defense, Service
from feint.signature import Pixels

onnxruntime.set_default_logger_severity(3)


@pytest.fixture(scope="module")
def files(tmp_path_factory, victim):
    """The victim in every kind of ONNX file: of any batch, of batches of 4, with probabilities, by external data."""
    folder = tmp_path_factory.mktemp("onnx")
    any_batch = {"dynamic_shapes": ({0: torch.export.Dim("n")},), "dynamo": True, "verbose": False}
    with warnings.catch_warnings(action="ignore"):  # what the exporter says of itself
        export(victim, (torch.rand(4, 1, 8, 8),), folder / "any.onnx", external_data=False, **any_batch)
    four, simplex = (onnx.load(folder / "any.onnx") for _ in range(2))
    onnx.save(four, folder / "beside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=200)
    four = onnx.load(folder / "any.onnx")
    four.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(four, folder / "four.onnx")
    (out,) = simplex.graph.output
    simplex.graph.node.append(onnx.helper.make_node("Softmax", [out.name], ["p"], axis=-1))
    out.name = "p"
    onnx.save(simplex, folder / "simplex.onnx")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["any", "four", "beside"])
@pytest.mark.parametrize("rows", [0, 1, 4, 9])
def test_an_onnx_file_answers_as_the_model_did(files, victim, name, rows):
    model, x = victims.load_any(files / f"{name}.onnx"), torch.rand(rows, 1, 8, 8)
    assert model.shape == (1, 8, 8)
    assert model.classes == 10
    assert torch.allclose(victims.logits(model, x), victims.logits(victim, x), atol=1e-4)
    copy = pickle.loads(pickle.dumps(model))
    assert_close(victims.logits(copy, x), victims.logits(model, x))
    assert_close(Service(model).oracle(client="a", budget=9).ask(x), victims.predict(model, x))


def test_the_fingerprint_of_an_onnx_file_is_its_bytes_wherever_they_lie(files, tmp_path):
    prints = {victims.fingerprint(victims.load_any(file)) for file in files.glob("*.onnx")}
    assert len(prints) == 4
    for file in (files / "beside.onnx", files / "weights.bin"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = victims.fingerprint(victims.load_any(tmp_path / "beside.onnx"))
    assert before in prints
    weights = tmp_path / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    assert victims.fingerprint(victims.load_any(tmp_path / "beside.onnx")) != before


def test_logits_and_probabilities_are_told_apart(files, victim):
    x = torch.rand(5, 1, 8, 8)
    with pytest.raises(BadInput, match="--probabilities"):
        victims.logits(victims.load_any(files / "simplex.onnx"), x)
    wrapped = victims.load_any(files / "simplex.onnx", probabilities=True)
    assert torch.allclose(victims.predict(wrapped, x), victims.predict(victim, x), atol=1e-4)
    assert victims.domain_of(wrapped) == Pixels((1, 8, 8))
    with pytest.raises(BadInput, match="may be logits"):
        victims.logits(victims.load_any(files / "any.onnx", probabilities=True), x)


def test_what_an_onnx_file_cannot_be(files, tmp_path, monkeypatch):
    model = victims.load_any(files / "any.onnx")
    with pytest.raises(BadInput, match="resize"):
        model(torch.rand(2, 1, 9, 9))
    with pytest.raises(BadInput, match="without gradients"):
        Service(model, Defense(inputs=[APMSA()]))(Query(torch.rand(2, 1, 8, 8)))
    with pytest.raises(MissingData, match="check the path"):
        victims.load_any(tmp_path / "none.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"not a graph")
    with pytest.raises(DamagedFile, match="export it again"):
        victims.load_any(tmp_path / "noise.onnx")
    flat = onnx.load(files / "any.onnx")
    del flat.graph.input[0].type.tensor_type.shape.dim[3]
    onnx.save(flat, tmp_path / "flat.onnx")
    with pytest.raises(BadInput, match=r"one input \(N, C, H, W\)"):
        victims.load_any(tmp_path / "flat.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingData, match=r"feint\[onnx\]"):
        victims.load_any(files / "any.onnx")


def test_weights_alone_need_their_network(tmp_path, victim, network, digits):
    file = tmp_path / "v.safetensors"
    safetensors.torch.save_file(victim.state_dict(), file)
    assert victims.fingerprint(victims.load_any(file, network=network)) == victims.fingerprint(victim)
    with pytest.raises(BadInput, match="--network"):
        victims.load_any(file)
    with pytest.raises(DamagedFile, match="check --network"):
        victims.load_any(file, network=networks.get("lenet", digits))
    with pytest.raises(BadInput, match="leave --network out"):
        victims.load_any(tmp_path / "v.onnx", network=network)
    file.write_bytes(b"noise")
    with pytest.raises(DamagedFile, match="write it again"):
        victims.load_any(file, network=network)
    with pytest.raises(MissingData, match="not there"):
        victims.load_any(tmp_path / "w.safetensors", network=network)
    with pytest.raises(MissingData, match="does not exist"):
        victims.load_any(tmp_path / "nothing")
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(BadInput, match="name one of these"):
        victims.load_any(tmp_path / "model.pt")


CODE = """
import torch
from torch import nn

def small(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def sized(width): return nn.Linear(width, 2)
def tuples(): return small(), "a note"
def fails(): raise RuntimeError("no weights")
made = small()
number = 3
"""


def test_a_factory_is_found_here_and_says_what_is_wrong_with_it(tmp_path, monkeypatch):
    (tmp_path / "owners_models.py").write_text(CODE)
    (tmp_path / "owners_broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("small", "made"):
        assert victims.classes_of(victims.load_any(f"owners_models:{name}"), Pixels((1, 8, 8))) == 10
    with pytest.raises(BadInput, match="the data's size"):
        victims.classes_of(victims.load_any("owners_models:small"), Pixels((1, 9, 9)))
    for place, kind, says in (
        ("owners_models:sized", BadInput, "needs arguments"),
        ("owners_models:tuples", BadInput, "makes a tuple"),
        ("owners_models:number", BadInput, "makes a int"),
        ("owners_models:fails", BadInput, "no weights"),
        ("owners_models:smal", MissingData, "one of small"),
        ("owners_broken:x", BadInput, "ZeroDivisionError"),
        ("owners_nowhere:x", MissingData, "no module 'owners_nowhere'"),
    ):
        with pytest.raises(kind, match=says):
            victims.load_any(place)


def test_answers_of_a_remote_model_are_cached(tmp_path, victim):
    oracle = Service(victim).oracle(client="a", budget=30)
    options = {"name": "server, toy, 1", "domain": Pixels((1, 8, 8)), "classes": 10, "folder": tmp_path}
    model, x = victims.FromAnswers(oracle.try_ask, **options), torch.rand(20, 1, 8, 8)
    assert torch.allclose(victims.predict(model, x), victims.predict(victim, x), atol=1e-6)
    victims.predict(model, torch.cat([x.flip(0), x[:3]]))
    assert model.asked == 20
    assert oracle.asked == 20
    again = victims.FromAnswers(oracle.try_ask, **options)
    assert torch.equal(victims.predict(again, x), victims.predict(model, x))
    assert oracle.asked == 20
    assert again.asked == 20
    assert victims.fingerprint(again) == victims.fingerprint(model)
    assert victims.fingerprint(victims.FromAnswers(oracle.try_ask, **{**options, "name": "2"})) != victims.fingerprint(
        model
    )
    more = torch.rand(20, 1, 8, 8)
    with pytest.raises(OverBudget):
        again(more)
    assert again.asked == 30
    again(more[:10])
    next(tmp_path.glob("*.safetensors")).write_bytes(b"noise")
    with pytest.raises(DamagedFile):
        victims.FromAnswers(oracle.try_ask, **options)


def test_a_server_that_went_away_is_not_waited_for_again():
    calls = []

    def gone(x):
        calls.append(len(x))
        raise Unreachable("a server", "a server that answers", "try again")

    model = victims.FromAnswers(gone, name="s", domain=Pixels((1, 2, 2)), classes=3)
    for _ in range(3):
        with pytest.raises(Unreachable):
            model(torch.rand(2, 1, 2, 2))
    assert calls == [2]


def test_the_commands_take_every_kind_of_victim(files, tmp_path, monkeypatch, capsys, victim):
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file(victim.state_dict(), "v.safetensors")
    training = "Training(epochs=1)"
    for i, place in enumerate(([f"{files}/simplex.onnx", "--probabilities"], ["v.safetensors", "--network", "mlp"])):
        steal = ["steal", "--pool", "digits", "--budget", "40", "--surrogate", "mlp", "--training", training]
        cli.main([*steal, "--victim", *place, "--out", f"stolen{i}"])
        cli.main(["evaluate", f"stolen{i}", "--data", "digits", "--victim", *place, "--json"])
    assert capsys.readouterr().out.count("fidelity") == 2
    assert np.isclose(*(victims.notes(f"stolen{i}")["asked"] for i in range(2)))
