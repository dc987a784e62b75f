"""Wrong files and options of the ownership commands: one line, exit code 2, and nothing written."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from feint import victims
from feint.cli.common import limit_calls
from feint.errors import BadInput
from feint.models.networks import Network
from feint.ownership import Mark
from feint.paid.meter import Meter
from feint.signature import Pixels

DOMAIN = Pixels((1, 4, 4))
NETWORK = Network("linear", DOMAIN, 10)


def mark(domain=DOMAIN, classes=10):
    x = torch.rand(30, *domain.shape, generator=torch.Generator().manual_seed(0))
    return Mark.of("triggers", domain, classes, x, torch.arange(30) % classes)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A mark of a model, two controls and a suspect, in the current directory."""
    monkeypatch.chdir(tmp_path)
    mark().save(Path("marked/triggers"), model="one")
    for seed in (1, 2):
        victims.save(f"controls/{seed}", NETWORK.build(seed))
    victims.save("suspect", NETWORK.build(3))
    Path("text.db").write_text("no ledger")
    return tmp_path


def other_domain():
    replace(mark(Pixels((1, 5, 5))), method="same mistakes").save(Path("marked/same_mistakes"), model="one")


def other_classes():
    replace(mark(classes=7), method="same mistakes").save(Path("marked/same_mistakes"), model="one")


def other_model():
    replace(mark(), method="same mistakes").save(Path("marked/same_mistakes"), model="another")


def truncated():
    file = Path("marked/triggers/tensors.safetensors")
    file.write_bytes(file.read_bytes()[:100])


def binary_salt():
    Path("marked/salt").write_bytes(b"\xff\xfe")


def damaged_transcript():
    Path("claimed").mkdir()
    Path("claimed/transcript.safetensors").write_bytes(b"junk")


def emptied_control():
    Path("controls/2/recipe.toml").unlink()


def nothing():
    """Change nothing."""


CLAIM = "claim suspect --mark marked --controls controls"
CASES = [
    (CLAIM, other_domain, "with marks of several models: same_mistakes, triggers; expected those of one"),
    (CLAIM, other_classes, "with marks of several models"),
    (CLAIM, other_model, "with marks of several models"),
    ("questions marked --out q.npz", other_model, "with marks of several models"),
    ("questions marked --out q.npz", truncated, "marked/triggers ("),
    ("commit marked --ledger new.db", truncated, "marked/triggers ("),
    ("commit marked --ledger text.db", nothing, "got text.db (file is not a database)"),
    (f"{CLAIM} --ledger text.db", binary_salt, "expected the salt as feint commit wrote it"),
    (f"{CLAIM} --out claimed", damaged_transcript, "expected a transcript with x and p; delete it and ask again"),
    (CLAIM, emptied_control, "got controls/2 without a model; expected the control of that number; train it again"),
    (f"{CLAIM} --model x --key k", nothing, "got --model and --key for suspect; expected the address of a server"),
    (f"{CLAIM} --price-per-1000 1", nothing, "got --price-per-1000 for suspect"),
]


@pytest.mark.parametrize(("line", "change", "says"), CASES)
def test_what_is_wrong_is_one_line_and_nothing_is_written(folder, run_cli, line, change, says):
    change()
    before = sorted(folder.rglob("*"))
    code, out, err = run_cli(line)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert says in err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_is_a_number_from_0(price):
    with pytest.raises(BadInput, match=r"--price-per-1000 .*; expected 0 or more"):
        limit_calls("suspect", Meter(price, "USD"), 10)


def test_marks_of_one_model_are_read_together(folder, run_cli):
    replace(mark(), method="same mistakes").save(Path("marked/same_mistakes"), model="one")
    assert run_cli(f"{CLAIM} --most-false 0.9")[0] == 1
    shutil.rmtree("marked/same_mistakes")
