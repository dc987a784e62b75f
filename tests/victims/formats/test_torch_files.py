"""TorchScript and exported programs as victims; pickles, and files that would run code, are refused unloaded."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from torch import nn

from feint import victims
from feint.errors import BadInput, DamagedFile
from feint.signature import Pixels

IMAGES = Pixels((3, 8, 8))
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Small(nn.Module):
    """A network whose exported program has expressions of sizes, constants and arithmetic."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
        self.register_buffer("scale", torch.full((3, 1, 1), 2.0))

    def forward(self, x):
        rows = x.shape[0]
        return self.body(x * self.scale).reshape(rows, -1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def program(network, tmp_path_factory):
    file = tmp_path_factory.mktemp("pt2") / "m.pt2"
    dynamic = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(network, (torch.rand(3, 3, 8, 8),), dynamic_shapes=dynamic), file)
    return file


def images(n=5):
    return torch.from_numpy(IMAGES.sample(n, 0))


@pytest.mark.parametrize("kind", ["script", "trace", "program"])
def test_a_file_of_torch_answers_as_the_module_and_keeps_gradients(kind, network, program, tmp_path):
    file = program if kind == "program" else tmp_path / "m.pt"
    if kind == "script":
        torch.jit.script(network).save(str(file))
    elif kind == "trace":
        torch.jit.save(torch.jit.trace(network, images()), str(file))
    victim = victims.load_any(file, domain=IMAGES)
    assert victim.domain == IMAGES
    for n in (1, 5):
        assert torch.allclose(victim(images(n)), network(images(n)), atol=1e-5)
    assert torch.equal(pickle.loads(pickle.dumps(victim))(images()), victim(images()))
    x = images().requires_grad_()
    victim(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert victims.load_raw(file).digest == victims.load_raw(file).digest


def test_an_exported_program_says_what_it_takes_and_a_script_does_not(network, program, tmp_path):
    assert str(victims.load_raw(program).inputs[0]) == "x: float32 (?, 3, 8, 8)"
    assert victims.load_any(program).domain == IMAGES
    torch.jit.script(network).save(str(tmp_path / "m.pt"))
    with pytest.raises(BadInput, match=r"what it takes.*feint inspect"):
        victims.load_any(tmp_path / "m.pt")


class Bomb:
    """Object whose unpickling fails the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("whole.pt", r"a pickled module.*weights_only=False.*torch\.export\.save"),
        ("state.pth", r"a pickled state_dict.*weights_only=True.*save_file\(state, 'state\.safetensors'\)"),
        ("bomb.pt", r"a pickled module"),
        ("old.pt", r"a pickled module"),
        ("m.joblib", r"joblib\.load\('m\.joblib'\); skops\.io\.dump\(model, 'm\.skops'\)"),
        ("m.pkl", r"pickle\.load.*skops\.io\.dump\(model, 'm\.skops'\)"),
    ],
)
def test_a_pickle_is_refused_unloaded_with_the_lines_that_convert_it(name, says, network, tmp_path):
    file = tmp_path / name
    if name == "state.pth":
        torch.save(network.state_dict(), file)
    elif file.suffix == ".pt" and name != "old.pt":
        torch.save(network if name == "whole.pt" else Bomb(), file)
    else:
        file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BadInput, match=says):
        victims.load_any(file)


def test_what_is_no_file_of_torch_is_named(tmp_path):
    (tmp_path / "noise.pt2").write_bytes(b"noise")
    with pytest.raises(DamagedFile, match="torch did not write"):
        victims.load_any(tmp_path / "noise.pt2")
    with zipfile.ZipFile(tmp_path / "empty.pt2", "w") as archive:
        archive.writestr("m/models/model.json", "{}")
    with pytest.raises(DamagedFile, match="export it again"):
        victims.load_any(tmp_path / "empty.pt2")


def rewritten(program, folder, name, change):
    """Copy a program with one part changed."""
    bad = folder / "bad.pt2"
    with zipfile.ZipFile(program) as good, zipfile.ZipFile(bad, "w") as archive:
        for stored in good.namelist():
            content = good.read(stored)
            archive.writestr(stored, change(content) if stored.endswith(name) else content)
    return bad


def _pickled_weight(content):
    config = json.loads(content)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config)


def _examples(content):
    buffer = io.BytesIO()
    torch.save((Bomb(),), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("weights_config.json", _pickled_weight, "pickled tensors"),
        ("sample_inputs/model.pt", _examples, "example inputs"),
        ("model.json", lambda c: c.replace(b"torch.ops.aten.relu.default", b"torch.hub.load"), r"operator torch\.hub"),
        (
            "model.json",
            lambda c: c.replace(b"torch.ops.aten.relu.default", b"torch.ops.aten.save.default"),
            "aten.save",
        ),
        ("model.json", lambda c: c.replace(b"Symbol(", b"exec("), "expression exec"),
        ("model.json", lambda c: c.replace(b"integer=True", b"integer=().__class__"), "expression"),
        ("model.json", lambda c: c.replace(b"builtins.tuple", b"collections.defaultdict"), "arguments of other types"),
    ],
)
def test_an_exported_program_that_would_run_code_is_refused_unloaded(
    name, change, says, program, tmp_path, monkeypatch
):
    file = rewritten(program, tmp_path, name, change)
    monkeypatch.setattr(torch.export, "load", lambda path: pytest.fail("it was loaded"))
    with pytest.raises(BadInput, match=says):
        victims.load_any(file)


def test_a_script_that_writes_files_is_refused(tmp_path):
    class Writes(nn.Module):
        def forward(self, x):
            torch.save(x, "out")
            return x.flatten(1)

    torch.jit.script(Writes()).save(str(tmp_path / "m.pt"))
    with pytest.raises(BadInput, match="writes or reads files"):
        victims.load_any(tmp_path / "m.pt", domain=IMAGES)


def test_a_script_that_needs_more_than_tensors_is_refused(tmp_path):
    class Sampled(nn.Module):
        def forward(self, x, rate: int):
            return x.flatten(1) * rate

    torch.jit.script(Sampled()).save(str(tmp_path / "m.pt"))
    with pytest.raises(BadInput, match=r"needs rate: int; .*name its factory"):
        victims.load_any(tmp_path / "m.pt", domain=IMAGES)
