"""`model.toml`: a round trip, and what is wrong with one."""

from functools import partial

import pytest
import torch
from tests.support import onnx_models

from feint import victims
from feint.cli.common import load_victim
from feint.errors import BadInput, DamagedFile, MissingData, NotWritten
from feint.models.networks import Network
from feint.signature import Column, Columns, Pixels, Text, Tokens
from feint.victims import Adapter, ClassOutputs, ColumnInputs, ModelFile, PixelInputs, TextInputs, TokenInputs

ADAPTERS = [
    Adapter(
        Pixels((3, 8, 8)), ("cat", "狗"), PixelInputs("x", "NHWC", -1.0, mean=(0.5,), deviation=(0.2,), size=(8, 8))
    ),
    Adapter(
        Columns((Column("age", optional=True, low=1.0), Column("job", ("a", "b"), shares=(0.25, 0.75)))),
        ("no", "yes"),
        ColumnInputs(form="tensors", categories="names", names=("Age", "Job")),
        ClassOutputs("scores", "sigmoid"),
    ),
    Adapter(Tokens(5, 9, 1), ("no", "yes"), TokenInputs("ids", "mask", dtype="int32"), ClassOutputs(order=(1, 0))),
    Adapter(Text(99), ("1", "2"), TextInputs("text"), ClassOutputs(values="labels", labels=("neg", "pos"))),
]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: type(adapter.domain).__name__)
def test_a_file_holds_adapter_network_and_evidence(adapter, tmp_path):
    network = Network("mlp", Pixels((1, 8, 8)), 3)
    file = ModelFile("sub/model.onnx", adapter, network, ("right on 93 % of 200 samples", "11 % without normalisation"))
    file.write(tmp_path / "model.toml")
    read = ModelFile.read(tmp_path / "model.toml")
    assert read == ModelFile(str(tmp_path / "sub/model.onnx"), adapter, network, file.evidence)


def test_the_model_is_found_beside_its_file_from_anywhere(tmp_path, monkeypatch):
    onnx_models.image_model(tmp_path / "m.onnx")
    adapter = victims.load_any(tmp_path / "m.onnx").adapter.with_classes(["3", "2", "1", "0"])
    ModelFile("m.onnx", adapter).write(tmp_path / "model.toml")
    monkeypatch.chdir("/")
    x = torch.rand(3, 3, 8, 8)
    plain, model = victims.load_any(tmp_path / "m.onnx"), victims.load_any(tmp_path / "model.toml")
    assert torch.equal(model(x), plain(x).flip(1))
    assert not model.training


def test_data_are_not_read_for_a_domain_that_the_file_states(tmp_path):
    onnx_models.image_model(tmp_path / "m.onnx")
    ModelFile("m.onnx", victims.load_any(tmp_path / "m.onnx").adapter).write(tmp_path / "model.toml")
    (tmp_path / "broken.parquet").write_text("no Parquet")
    load = partial(load_victim, data=str(tmp_path / "broken.parquet"), network=None)
    assert victims.domain_of(load(str(tmp_path / "model.toml"))) == Pixels((3, 8, 8))
    with pytest.raises(DamagedFile):
        load(str(tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (("layout", "layuot"), BadInput, r"model\.toml: .*'layuot'.*did you mean 'layout'"),
        (('"NCHW"', '"CHWN"'), BadInput, r"model\.toml: .*CHWN"),
        (("Pixels", "Pixel"), BadInput, r"did you mean 'Pixels'"),
        (('kind = "PixelInputs"', 'kind = "TokenInputs"'), BadInput, r"layout"),
        (("format = 1", "format = 2"), DamagedFile, r"format"),
        (("[adapter]", "[adapter"), DamagedFile, r"mend it"),
        (('model = "m.onnx"', ""), BadInput, r"without model"),
        (('model = "m.onnx"', "model = 3"), BadInput, r"model = 3 of ModelFile.*a text"),
        (('model = "m.onnx"', 'model = "n.onnx"'), MissingData, r"n\.onnx"),
        (('dtype = ""', 'dtype = "float64"'), BadInput, r"x as float64.*feint inspect"),
        (("    8,\n    8,", "    9,\n    9,"), BadInput, r"shape"),
        (('tensor = "x"', 'tensor = "y"'), BadInput, r"inputs y"),
        (('tensor = "x"', "tensor = 3"), BadInput, r"tensor = 3 of PixelInputs.*a text"),
        (("classes = [", 'classes = ["0",'), BadInput, r"different names"),
        (("    3,\n    8,", "    true,\n    8,"), BadInput, r"shape = .*Pixels"),
        (("low = 0.0", 'low = "a"'), BadInput, r"low = 'a' of PixelInputs.*a number"),
    ],
    ids=lambda value: str(value[1]) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_with_a_file_is_one_typed_line(change, kind, says, tmp_path):
    onnx_models.image_model(tmp_path / "m.onnx")
    ModelFile("m.onnx", victims.load_any(tmp_path / "m.onnx").adapter).write(tmp_path / "model.toml")
    text = (tmp_path / "model.toml").read_text()
    assert change[0] in text
    (tmp_path / "model.toml").write_text(text.replace(*change))
    with pytest.raises(kind, match=says) as raised:
        victims.load_any(tmp_path / "model.toml")
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_written_or_read_is_named(tmp_path):
    with pytest.raises(NotWritten):
        ModelFile("m.onnx", ADAPTERS[0]).write(tmp_path / "dir" / ("x" * 300))
    with pytest.raises(MissingData, match="feint inspect"):
        ModelFile.read(tmp_path / "model.toml")
