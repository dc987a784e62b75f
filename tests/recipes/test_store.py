"""Directories of recipes and tensors: whole or not there, and never believed blindly."""

import pickle
from dataclasses import dataclass

import pytest
import torch
from tests.support.variance import assert_close

from feint import victims
from feint.defenses import outputs
from feint.defenses.outputs import APGP
from feint.errors import BadInput, DamagedFile, MissingData, NotFitted, NotWritten
from feint.models.networks import VOCABULARY, Network
from feint.recipes import store
from feint.recipes.recipe import exported_recipes
from feint.victims import Trained

WORDS = exported_recipes(outputs)


@pytest.fixture
def fitted():
    return APGP(top=2, hidden=(4,), steps=3).fit_answers(torch.eye(5))


def test_what_was_saved_comes_back(fitted, tmp_path):
    store.save(tmp_path / "apgp", fitted, data="digits")
    stored = store.load(tmp_path / "apgp", WORDS)
    assert stored.recipe == fitted
    assert stored.about == {"data": "digits"}
    assert_close(stored.recipe(torch.eye(5)), fitted(torch.eye(5)))
    assert {file.name for file in (tmp_path / "apgp").iterdir()} == {"recipe.toml", "tensors.safetensors"}
    store.save(tmp_path / "apgp", fitted, data="again")
    assert store.load(tmp_path / "apgp", WORDS).about == {"data": "again"}
    assert [file.name for file in tmp_path.iterdir()] == ["apgp"]


@pytest.mark.parametrize(
    "damage",
    {
        "no tensors": lambda folder: (folder / "tensors.safetensors").unlink(),
        "no recipe": lambda folder: (folder / "recipe.toml").unlink(),
        "truncated tensors": lambda folder: (folder / "tensors.safetensors").write_bytes(b"123"),
        "changed tensors": lambda folder: _flip_last_byte(folder / "tensors.safetensors"),
        "broken toml": lambda folder: (folder / "recipe.toml").write_text("= 1"),
        "unknown field": lambda folder: _replace(folder / "recipe.toml", "top = 2", "tpo = 2"),
        "unknown method": lambda folder: _replace(folder / "recipe.toml", '"APGP"', '"Magic"'),
        "other format": lambda folder: _replace(folder / "recipe.toml", "format = 1", "format = 99"),
        "another's": lambda folder: (folder / "recipe.toml").write_text("[tool]\nname = 'x'\n"),
    }.items(),
    ids=lambda fault: fault[0],
)
def test_a_damaged_directory_is_refused(fitted, tmp_path, damage):
    store.save(tmp_path / "apgp", fitted)
    damage[1](tmp_path / "apgp")
    with pytest.raises(DamagedFile, match="expected"):
        store.load(tmp_path / "apgp", WORDS)


def _flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_loading_a_missing_directory_raises_missing_data(tmp_path):
    with pytest.raises(MissingData, match="does not exist"):
        store.load(tmp_path / "none", WORDS)


def test_another_programs_directory_is_never_replaced(fitted, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="something else"):
        store.save(tmp_path / "precious", fitted)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_a_defense_is_no_victim(fitted, tmp_path):
    store.save(tmp_path / "apgp", fitted)
    with pytest.raises(DamagedFile):
        victims.load(tmp_path / "apgp")
    victims.save(tmp_path / "victim", Network("mlp", (1, 2, 2), 2).build())
    assert victims.load(tmp_path / "victim").network.name == "mlp"


def test_when_writing_fails_the_old_file_stays_and_nothing_half_written_is_left(tmp_path):
    (tmp_path / "file").write_text("old")

    def half():
        with store.atomic_write(tmp_path / "file") as partial:
            partial.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(NotWritten, match="No space left"):
        half()
    assert (tmp_path / "file").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_never_replaces_a_directory(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "model").write_text("trained for hours")
    with pytest.raises(NotWritten, match=r"a directory; .* name a file in it"), store.atomic_write(
        tmp_path / "runs"
    ) as partial:  # fmt: skip
        partial.write_text("a file")
    with pytest.raises(NotWritten, match="a directory"):
        store.check_writable(tmp_path / "runs")
    assert [file.name for file in tmp_path.rglob("*")] == ["runs", "model"]


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    store.check_writable(tmp_path / "runs" / "model" / "audit.json")
    assert not any(tmp_path.iterdir())


def test_a_trained_network_in_a_recipe_comes_back_from_disk(tmp_path, victim):
    @dataclass(frozen=True)
    class Holds:
        inside: Trained

    trained = Trained.of(victim)
    store.save(tmp_path / "kept", Holds(trained))
    loaded = store.load(tmp_path / "kept", VOCABULARY | {"Holds": Holds, "Trained": Trained}).recipe
    assert loaded == Holds(trained)
    x = torch.rand(5, *victim.network.shape)
    assert_close(loaded.inside.model(x), victim(x))
    assert pickle.loads(pickle.dumps(trained)) == trained
    with pytest.raises(NotFitted, match="directory"):
        Trained(victim.network, store.Weights("ab")).model  # noqa: B018
