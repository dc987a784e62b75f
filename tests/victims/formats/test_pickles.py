"""Pickles are named by what they hold, unloaded, and the lines of the remedy convert them."""

import argparse
import bz2
import gzip
import lzma
import pickle
import re
import zlib
from collections import OrderedDict

import joblib
import pytest
import skops.io
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from feint import victims
from feint.errors import BadInput
from feint.signature import Pixels

NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
STATE = NETWORK.state_dict()
OPTIMISER = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}}, "param_groups": [{"params": [0]}]}


def prefixed(prefix):
    return OrderedDict((prefix + name, value) for name, value in STATE.items())


class Bomb:
    """Object whose unpickling fails the test."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def refusal(path):
    with pytest.raises(BadInput) as error:
        victims.load_any(path)
    return error.value.args[0], error.value.args[2]


def run(remedy, monkeypatch, folder):
    """Run the lines of a remedy in the folder of the file, as its owner would."""
    import safetensors.torch

    monkeypatch.chdir(folder)
    lines = re.sub(r", and name it.*|, where x is.*", "", remedy.removeprefix("convert it where you trust it: "))
    names = {"torch": torch, "safetensors": safetensors, "joblib": joblib, "skops": skops, "pickle": pickle}
    exec(lines, names | {"x": torch.rand(2, 3, 2, 2)})


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "legacy"])
@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".bin", ".pth.tar"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (STATE, r"a pickled state_dict$"),
        (prefixed("module."), r"a pickled state_dict, whose names begin with 'module\.'"),
        (
            {"epoch": 3, "state_dict": prefixed("module._orig_mod."), "optimizer": OPTIMISER},
            r"a checkpoint of epoch, optimizer and, under 'state_dict', a state_dict, .*'module\._orig_mod\.'",
        ),
        ({"model": STATE, "ema": torch.zeros(3)}, r"under 'model', a state_dict$"),
        ({"net": STATE, "args": argparse.Namespace(rate=0.1)}, r"a checkpoint of args and, under 'net'"),
    ],
    ids=["state", "wrapped", "nested", "tensors beside", "objects beside"],
)
def test_weights_are_named_and_the_lines_write_them(content, says, suffix, zipped, tmp_path, monkeypatch):
    torch.save(content, tmp_path / f"m{suffix}", _use_new_zipfile_serialization=zipped)
    got, remedy = refusal(tmp_path / f"m{suffix}")
    assert re.search(says, got), got
    run(remedy, monkeypatch, tmp_path)
    written = load_file(tmp_path / "m.safetensors")
    assert written.keys() == STATE.keys()
    assert all(torch.equal(written[name], STATE[name]) for name in STATE)


@pytest.mark.filterwarnings("ignore")  # of torch.export
@pytest.mark.parametrize(
    ("content", "says"), [(NETWORK, "a pickled module"), ({"model": NETWORK, "epoch": 2}, "a module under 'model'")]
)
def test_a_module_is_named_and_the_lines_export_it(content, says, tmp_path, monkeypatch):
    torch.save(content, tmp_path / "m.pt")
    got, remedy = refusal(tmp_path / "m.pt")
    assert says in got
    run(remedy, monkeypatch, tmp_path)
    x = torch.rand(2, 3, 2, 2)
    assert torch.allclose(victims.load_any(tmp_path / "m.pt2", domain=Pixels((3, 2, 2)))(x), NETWORK(x), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "says"),
    [(OPTIMISER, "the state of an optimiser"), (torch.zeros(3), "a pickled tensor"), ([1, 2], "a pickled list")],
)
def test_what_has_no_model_is_named(content, says, tmp_path):
    torch.save(content, tmp_path / "m.pt")
    got, remedy = refusal(tmp_path / "m.pt")
    assert says in got
    assert remedy == "it has no model: name the file that has"


@pytest.mark.parametrize("name", ["m.pt", "m.ckpt", "m.bin", "m.anything"])
def test_nothing_in_a_checkpoint_is_run(name, tmp_path):
    torch.save({"state_dict": STATE, "hook": Bomb(), "list": [Bomb()], Bomb: {1, 2}}, tmp_path / name)
    got, remedy = refusal(tmp_path / name)
    assert "a state_dict" in got
    assert "weights_only=False" in remedy


PACKERS = {
    "plain": lambda content: content, "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress,
    "zlib": zlib.compress,
}  # fmt: skip


@pytest.mark.parametrize("name", ["m", "m.bin", "m.joblib", "m.pkl.gz", "m.sav"])
@pytest.mark.parametrize("packer", PACKERS)
def test_an_estimator_is_known_by_its_bytes_and_the_lines_write_it(packer, name, tmp_path, monkeypatch):
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    (tmp_path / name).write_bytes(PACKERS[packer](pickle.dumps(model)))
    got, remedy = refusal(tmp_path / name)
    assert got.endswith("a pickle")
    run(remedy, monkeypatch, tmp_path)
    assert victims.load_any(tmp_path / "m.skops").class_names == ("0", "1")


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_booster_is_written_by_its_own_library(library, tmp_path, monkeypatch):
    module = pytest.importorskip(library)
    kind = module.XGBClassifier if library == "xgboost" else module.LGBMClassifier
    model = kind(n_estimators=2, n_jobs=1).fit(torch.rand(60, 3).numpy(), [0, 1] * 30)
    joblib.dump(model, tmp_path / "m.joblib", compress=3)
    got, remedy = refusal(tmp_path / "m.joblib")
    assert got.endswith(f"a pickle of {library}")
    run(remedy, monkeypatch, tmp_path)
    (file,) = {*tmp_path.iterdir()} - {tmp_path / "m.joblib"}
    assert len(victims.load_any(file).class_names) == 2


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_is_loaded_whatever_its_suffix(tmp_path):
    torch.jit.script(NETWORK).save(str(tmp_path / "m.torchscript"))
    x = torch.rand(2, 3, 2, 2)
    assert torch.allclose(victims.load_any(tmp_path / "m.torchscript", domain=Pixels((3, 2, 2)))(x), NETWORK(x))
