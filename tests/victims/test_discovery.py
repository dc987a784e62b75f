"""Victims by place: each kind is loaded or refused by its name, with what to do."""

import ast
import re
import shlex
import sys
import zipfile

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import skops.io
import torch
from sklearn.linear_model import LogisticRegression
from tests.support import onnx_models

from feint import cli, victims
from feint.errors import BadInput, DamagedFile, MissingData
from feint.models import networks
from feint.signature import Column, Columns, Pixels, Text

onnxruntime.set_default_logger_severity(3)


def test_weights_alone_need_their_network(tmp_path, victim, network, digits):
    file = tmp_path / "v.safetensors"
    safetensors.torch.save_file(victim.state_dict(), file)
    assert victims.fingerprint(victims.load_any(file, network=network)) == victims.fingerprint(victim)
    with pytest.raises(BadInput, match="--network"):
        victims.load_any(file)
    with pytest.raises(DamagedFile, match="check --network"):
        victims.load_any(file, network=networks.get("lenet", digits))
    onnx_models.image_model(tmp_path / "v.onnx")
    with pytest.raises(BadInput, match="leave --network out"):
        victims.load_any(tmp_path / "v.onnx", network=network)
    file.write_bytes(b"noise")
    with pytest.raises(DamagedFile, match="write it again"):
        victims.load_any(file, network=network)
    with pytest.raises(MissingData, match="not there"):
        victims.load_any(tmp_path / "w.safetensors", network=network)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("m.keras", r"Keras.*python -m tf2onnx\.convert --saved-model"),
        ("m.h5", r"Keras.*tf2onnx\.convert --keras"),
        ("m.tflite", r"TensorFlow Lite.*tf2onnx\.convert --tflite .*m\.tflite --output m\.onnx"),
        ("saved/saved_model.pb", r"SavedModel.*tf2onnx\.convert --saved-model .*saved --output saved\.onnx"),
        ("m.mlmodel", r"Core ML.*convert_coreml"),
        ("m.mlpackage", r"Core ML.*export the original"),
        ("m.pmml", r"PMML.*skops\.io\.dump"),
        ("m.hdf5", r"Keras.*tf2onnx\.convert --keras"),
        ("m.gguf", r"language model.*package\.module:function"),
        ("paddle/inference.pdmodel", r"Paddle.*paddle2onnx --model_dir .*paddle --save_file paddle\.onnx"),
        ("flow/MLmodel", r"MLflow.*feint audit --url"),
        ("m.bst", r"booster in an old form.*save_model\('m\.ubj'\)"),
        ("flow/MLmodel flow/artifacts/model.ubj", r"MLflow.*name the model's own file: .*flow/artifacts/model\.ubj;"),
        ("bento/bento.yaml", r"a Bento.*victim\.toml"),
        ("lora/adapter_config.json lora/config.json", r"PEFT.*merge_and_unload\(\)\.save_pretrained\('lora-merged'\)"),
        ("nlp/config.cfg nlp/meta.json", r"spaCy.*returns doc\.cats"),
        ("optimum/config.json optimum/onnx/model.onnx", r"name that file: .*optimum/onnx/model\.onnx"),
        ("run/last.ckpt run/a/best.onnx", r"a directory; .*name the model's file: .*run/a/best\.onnx"),
        ("web/model.json", r"TensorFlow\.js"),
        ("m.weights.h5", r"weights of Keras alone.*format='onnx'"),
        ("m.tar.gz", r"an archive.*tar -xf .*m\.tar\.gz"),
        ("m.onnx.data", r"tensors of an ONNX file"),
        ("m.rknn", r"compiled for a device"),
        ("m.py", r"source code.*m:FUNCTION"),
        ("m.npz", r"data; .*--data .*m\.npz"),
        ("m.js", r"JavaScript.*describe its API"),
        ("web/core.d.ts", r"expected model\.toml, victim\.toml, NAME\.onnx"),
        ("m.docx", r"expected model\.toml, victim\.toml, NAME\.onnx"),
        ("empty/nothing", r"expected model\.toml, victim\.toml, NAME\.onnx"),
    ],
)
def test_a_foreign_format_is_refused_with_the_command_that_converts_it(name, says, tmp_path):
    for file in name.split():
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).write_bytes(b"content")
    with pytest.raises(BadInput, match=says):
        victims.load_any(tmp_path / name.split("/")[0])


@pytest.mark.parametrize(
    ("suffix", "words"), [(".h5", -3), (".tflite", -3), (".gz", -1), (".tar.gz", -1), (".csv", -1)]
)
def test_the_command_that_converts_a_file_is_typed_as_it_is_printed(suffix, words, tmp_path):
    file = tmp_path / f"the owner's model{suffix}"
    file.write_bytes(b"content")
    with pytest.raises(BadInput) as refusal:
        victims.load_any(file)
    assert shlex.split(str(refusal.value).rpartition("; ")[2].rpartition("convert ")[2])[words] == str(file)


@pytest.mark.parametrize("suffix", [".keras", ".bst", ".joblib"])
def test_the_line_of_python_that_converts_a_file_has_any_name_of_it(suffix, tmp_path):
    (tmp_path / f"the owner's model{suffix}").write_bytes(b"content")
    with pytest.raises(BadInput, match="convert it") as refusal:
        victims.load_any(tmp_path / f"the owner's model{suffix}")
    line = re.split(r"convert it[^:]*: ", str(refusal.value))[1].partition(" in Python")[0]
    literals = [node.value for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Constant)]
    assert sum("the owner's model" in str(literal) for literal in literals) == 2


@pytest.mark.parametrize("name", ["m.onnx", "m.safetensors", "m.bin", "m.json"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b"<!DOCTYPE html><title>Sign in</title>", "a page of HTML"),
        (b"\xba\x16O/\x0c\0\0\0", "fastText"),
    ],
)
def test_a_file_that_is_no_model_is_named_by_its_content(name, content, says, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=says):
        victims.load_any(tmp_path / name)


@pytest.mark.parametrize("name", ["m.model", "m.bin", "m", "m.onnx"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"GGUF\x03\0\0\0", r"llama\.cpp"),
        (b"\x89HDF\r\n\x1a\n", r"Keras.*tf2onnx\.convert --keras"),
        (b"tree\nversion=v4\n", r"LightGBM; .*name it so: cp .*m[\w.]* m\.txt"),
        (b"svm_type c_svc\n", r"LIBSVM.*package\.module:function"),
        (b"\x1c\0\0\0TFL3\x14", r"TensorFlow Lite.*--tflite"),
    ],
)
def test_a_file_whose_name_misleads_is_named_by_its_content(name, content, says, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=says):
        victims.load_any(tmp_path / name)


@pytest.mark.parametrize(
    ("folder", "part", "says"),
    [
        ("saved/saved_model.pb", "saved_model.pb", r"SavedModel.*--saved-model .*saved --output saved\.onnx"),
        ("saved/saved_model.pb", "variables/variables.data-00000-of-00001", r"SavedModel.*--saved-model .*saved "),
        ("saved/config.cfg", "textcat/model", r"saved, a pipeline of spaCy"),
        ("saved/MLmodel", "MLmodel", r"saved, a model of MLflow"),
    ],
)
def test_a_part_of_a_directory_is_refused_as_the_directory(folder, part, says, tmp_path):
    for file in (tmp_path / folder, tmp_path / "saved" / part):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"content")
    with pytest.raises(BadInput, match=says):
        victims.load_any(tmp_path / "saved" / part)


def test_a_mojo_of_h2o_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("model.ini", "[info]")
    with pytest.raises(BadInput, match=r"MOJO of H2O.*import_mojo"):
        victims.load_any(tmp_path / "model.zip")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"name": "tree", "tree_info": []}', r"dump of LightGBM.*save_model\('m\.txt'\)"),
        ('{"oblivious_trees": []}', r"CatBoost in JSON.*save_model\('m\.cbm'\)"),
        ('[{"nodeid": 0, "leaf": 1}]', r"dump of XGBoost.*save_model\('m\.ubj'\)"),
    ],
)
def test_json_of_other_boosters_is_refused_with_the_line_that_writes_the_model(content, says, tmp_path):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(BadInput, match=says):
        victims.load_any(tmp_path / "m.json")


def test_a_place_that_does_not_exist_is_missing(tmp_path):
    for name in ("nothing", "nothing.onnx", "nothing.keras", "model.toml"):
        with pytest.raises(MissingData):
            victims.load_any(tmp_path / name)


CODE = """
import numpy as np
import torch
from torch import nn
from sklearn.linear_model import LogisticRegression

def small(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def sized(width, height): return nn.Linear(width, height)
def tuples(): return small(), "a note"
def fails(): raise RuntimeError("no weights")
made = small()
number = 3
def estimator(): return LogisticRegression().fit(np.eye(3), [0, 1, 2])
def softmax(): return nn.Sequential(small(), nn.Softmax(1))
def linear(x): return np.stack([1 - x[:, 0] / 9, x[:, 0] / 9], 1)
def shouts(texts): return ["loud" if text.isupper() else "calm" for text in texts]
shouts.classes = ["calm", "loud"]
def scores(rows): return [{"no": 0.9, "yes": 0.1} if row["age"] < 40 else {"yes": 0.7, "no": 0.3} for row in rows]
scores.classes = ["no", "yes"]
def framed(frame): return (frame["age"] > 40).to_numpy().astype(int)
framed.classes = [0, 1]
def short(x): return [0]
def broken(x): return 1 / 0
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    (tmp_path / "owners_models.py").write_text(CODE)
    (tmp_path / "owners_broken.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("owners_models", None)


@pytest.mark.usefixtures("code")
def test_a_factory_is_called_and_its_faults_are_named():
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


@pytest.mark.usefixtures("code")
def test_a_module_gets_the_domain_of_the_data_and_its_probabilities_are_seen():
    model = victims.load_any("owners_models:softmax", domain=Pixels((1, 8, 8)))
    assert (model.domain, model.classes) == (Pixels((1, 8, 8)), 10)
    assert model.adapter.outputs.values == "probabilities"
    x = torch.rand(3, 1, 8, 8)
    assert torch.allclose(victims.predict(model, x), model.raw.module(x), atol=1e-6)


@pytest.mark.usefixtures("code")
def test_an_estimator_of_a_factory_is_one_of_scikit_learn():
    assert victims.load_any("owners_models:estimator").domain.names == ("x0", "x1", "x2")


TABLE = Columns((Column("age", low=0.0, high=9.0), Column("job", ("boss", "clerk"))))


@pytest.mark.usefixtures("code")
def test_a_function_takes_arrays_texts_rows_and_frames_and_returns_scores_or_labels():
    numbers = victims.load_any("owners_models:linear", domain=Columns(TABLE.columns[:1]))
    assert torch.allclose(
        victims.predict(numbers, torch.tensor([[3.0], [9.0]]).double())[:, 1], torch.tensor([1 / 3, 1])
    )
    texts = victims.load_any("owners_models:shouts", domain=Text(20))
    p = victims.predict(texts, torch.from_numpy(Text(20).from_strings(["HELP", "thanks"])))
    assert texts.class_names == ("calm", "loud")
    assert p.round().tolist() == [[0, 1], [1, 0]]
    x = torch.from_numpy(TABLE.from_table({"age": [30, 50], "job": ["clerk", "boss"]}))
    for name, form, wanted in (("scores", "rows", [0.1, 0.7]), ("framed", "frame", [0, 1])):
        raw = victims.load_raw(f"owners_models:{name}")
        values = "labels" if name == "framed" else "probabilities"
        labels = ("0", "1") if name == "framed" else ()
        outputs = victims.ClassOutputs(values=values, labels=labels)
        adapter = victims.Adapter(TABLE, ("no", "yes"), victims.ColumnInputs(form=form, categories="names"), outputs)
        model = victims.AdaptedModel(raw, adapter)
        assert torch.allclose(victims.predict(model, x)[:, 1], torch.tensor(wanted).float(), atol=1e-6)


@pytest.mark.usefixtures("code")
def test_faults_of_a_function_are_named():
    with pytest.raises(BadInput, match=r"what it takes.*feint inspect owners_models:linear"):
        victims.load_any("owners_models:linear")
    with pytest.raises(BadInput, match=r"how it takes categories"):
        victims.load_any("owners_models:linear", domain=TABLE)
    with pytest.raises(BadInput, match=r"16 inputs.*one for each input"):
        victims.load_any("owners_models:short", domain=Pixels((1, 2, 2)))
    with pytest.raises(BadInput, match=r"ZeroDivisionError"):
        victims.load_any("owners_models:broken", domain=Pixels((1, 2, 2)))


def test_the_commands_take_every_kind_of_victim(tmp_path, monkeypatch, capsys, victim, digits):
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file(victim.state_dict(), "v.safetensors")
    x, y = digits.train.inputs().flatten(1).numpy(), digits.train.labels.numpy()
    skops.io.dump(LogisticRegression(max_iter=300).fit(x, y), "v.skops")
    training = "Training(epochs=1)"
    for i, place in enumerate((["v.skops"], ["v.safetensors", "--network", "mlp"])):
        steal = ["steal", "--pool", "digits", "--budget", "40", "--surrogate", "mlp", "--training", training]
        cli.main([*steal, "--victim", *place, "--out", f"stolen{i}"])
        cli.main(["evaluate", f"stolen{i}", "--data", "digits", "--victim", *place, "--json"])
    assert capsys.readouterr().out.count("fidelity") == 2
    assert np.isclose(*(victims.notes(f"stolen{i}")["asked"] for i in range(2)))
