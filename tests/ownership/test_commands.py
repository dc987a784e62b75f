"""The commands of ownership, from a marked model to a claim."""

import contextlib
import json
import shlex
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.open_inference import served
from tests.support.suspects import now
from tests.support.time_stamps import authority

from feint import victims
from feint.cli import main
from feint.data.files import samples_at
from feint.defenses.boundary import ClassFeatureWatermark, MarginWatermark
from feint.models.networks import Network
from feint.models.training import Training
from feint.ownership import Mark, trained_mark
from feint.recipes.store import RECIPE, TENSORS
from feint.service import Service
from feint.victims import ClassOutputs, PixelInputs

COPY = '"Training(epochs=20, least_steps=800, batch_size=32, learning_rate=0.05)"'
CLAIM = "--controls controls --ledger own.db --appeared NOW --most-false 0.35 --mark marked"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def folder(tmp_path_factory, _cache):
    """A marked victim, controls, and a copy, made by the commands once for all tests."""
    folder = tmp_path_factory.mktemp("ownership")
    with contextlib.chdir(folder):
        for line in (
            "train --data digits --network mlp --out victim",
            "mark victim --data digits --out marked --rehearsals 4",
            "controls victim --data digits --out controls --count 8",
            "commit marked --ledger own.db",
            f"steal --victim victim --pool digits --budget 700 --out copy --training {COPY}",
        ):
            with contextlib.suppress(SystemExit):
                main(shlex.split(line))
    return folder


@pytest.fixture
def made(run_cli, folder, tmp_path):
    """Run a command line in a copy of the folder, with the time for NOW."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return lambda line: run_cli(line.replace("NOW", now()))


def test_a_copy_is_claimed_and_files_are_written(made):
    code, out, err = made(f"claim copy {CLAIM} --out claimed")
    assert code == 0, out + err
    assert "evidence that this is a copy" in out
    table = json.loads(Path("claimed/claim.json").read_text())
    assert table["verdict"] == "copy"
    assert table["queries"] <= 1000
    assert table["false_claims"] == 0
    assert "evidence that this is a copy" in Path("claimed/claim.html").read_text()


def test_an_innocent_is_not_claimed(made):
    shutil.move("controls/000", "innocent")
    code, out, _ = made(f"claim innocent {CLAIM} --json")
    assert code == 1
    assert json.loads(out)["reasons"] == ["little evidence"]


def test_classes_of_a_named_set_are_the_models_whatever_their_order(made):
    names = tuple("9876543210")
    model = victims.load("victim")
    inputs, outputs = PixelInputs(dtype="float32"), ClassOutputs(order=tuple(range(9, -1, -1)))
    adapter = victims.Adapter(model.domain, names, inputs, outputs)
    victims.ModelFile("victim", adapter).write("model.toml")
    code, out, err = made("mark model.toml --data digits --out marked2 --rehearsals 0")
    assert code == 0, out + err
    ordinary, own = (Mark.load(f"{place}/ordinary_inputs") for place in ("marked2", "marked"))
    assert ((9 - ordinary.labels).tolist(), (9 - ordinary.truth).tolist()) == (own.labels.tolist(), own.truth.tolist())
    code, out, err = made("controls model.toml --data digits --out controls2 --count 1")
    assert code == 0, out + err
    victims.ModelFile("victim", replace(adapter, classes=names[::-1])).write("model.toml")
    for command in ("mark", "controls"):
        code, _, err = made(f"{command} model.toml --data digits --out none")
        assert (code, len(err.splitlines()), Path("none").exists()) == (2, 1, False)
        assert "right on" in err


def test_a_claim_without_a_commitment_or_a_date_is_none(made):
    code, out, _ = made("claim copy --mark marked --controls controls --most-false 0.4")
    assert code == 1
    assert "There is no commitment" in out
    code, out, _ = made("claim copy --mark marked --controls controls --most-false 0.4 --ledger own.db --lang zh")
    assert code == 1
    assert "请给出 --appeared" in out


def test_a_suspect_of_another_domain_is_named(made, digits):
    victims.save("other", Network("linear", replace(digits.domain, shape=(1, 9, 9)), 10).build(0))
    code, out, err = made(f"claim other {CLAIM}")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "other, which takes (N, 1, 9, 9) float32" in err
    assert "a suspect of the mark's inputs of shape (1, 1, 8, 8)" in err


def test_weights_alone_are_a_suspect_with_the_marks_inputs_and_classes(made):
    shutil.copy(f"copy/{TENSORS}", "weights.safetensors")
    code, out, err = made(f"claim weights.safetensors --network mlp {CLAIM}")
    assert (code, "evidence that this is a copy" in out) == (0, True), err


def test_a_suspect_behind_a_url_is_asked_and_its_answers_are_kept(made):
    with served(Service(victims.load("copy")), shape=(1, 8, 8), classes=10) as server:
        line = f"claim {server.url} --model toy {CLAIM} --out claimed --budget 50"
        made(line)
        assert server.service.ledger.queries == 50
        made(line)
        assert server.service.ledger.queries == 50
        code, _, err = made(f"claim {server.url} {CLAIM}")
        assert code == 2
        assert "--model NAME" in err


def test_answers_of_another_suspect_are_never_counted(made):
    assert made(f"claim copy {CLAIM} --out claimed")[0] == 0
    before = Path("claimed/claim.json").read_bytes()
    shutil.move("controls/000", "other")
    code, out, err = made(f"claim other {CLAIM} --out claimed")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "answers of copy" in err
    shutil.rmtree("copy")
    shutil.move("other", "copy")  # another model under the same name
    code, _, err = made(f"claim copy {CLAIM} --out claimed")
    assert (code, "a new directory" in err) == (2, True)
    assert Path("claimed/claim.json").read_bytes() == before


def test_a_shorter_claim_forgets_no_answer(made):
    with served(Service(victims.load("controls/001")), shape=(1, 8, 8), classes=10) as server:
        line = f"claim {server.url} --model toy {CLAIM} --out claimed"
        made(line)
        asked = server.service.ledger.queries
        made(f"{line} --budget 60")
        made(line)
        assert server.service.ledger.queries == asked > 60


def test_marks_that_were_changed_are_not_the_committed_ones(made):
    made("mark victim --data digits --out marked2 --rehearsals 0 --seed 5")
    code, _, err = made(f"claim copy {CLAIM}2")
    assert (code, "without a salt" in err) == (2, True)
    shutil.copy("marked/salt", "marked2/salt")
    code, _, err = made(f"claim copy {CLAIM}2")
    assert (code, "does not have" in err) == (2, True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which signs time stamps")
def test_an_authority_dates_marks_that_the_owners_clock_had_dated(made, tmp_path):
    code, _, err = made(f"claim copy {CLAIM} --tsa-root root.pem")
    assert (code, "without a time stamp" in err) == (2, True)
    (tmp_path / "tsa").mkdir()
    with authority(tmp_path / "tsa") as (url, root):
        code, out, err = made(f"commit marked --ledger own.db --tsa {url}")
        assert (code, url in out) == (0, True), err
        time.sleep(1.0)  # a time stamp has whole seconds
        said = {
            option: made(f"claim copy {CLAIM} --json {option}")
            for option in ("", f"--tsa-root {root}", "--tsa-root own.db")
        }
    codes = [code for code, _, _ in said.values()]
    by_clock, by_authority = (json.loads(out)["commitment"] for _, out, _ in [*said.values()][:2])
    assert codes == [0, 0, 2], said
    assert (by_clock["authority"], by_clock["verified"]) == ("", False)
    assert (by_authority["authority"], by_authority["verified"]) == (url, True)
    assert "without a certificate" in [*said.values()][2][2]


@pytest.mark.parametrize(
    ("recipe", "source", "option"),
    [
        (MarginWatermark(count=30, draw=7, training=Training(epochs=1)), "train", ""),
        (
            ClassFeatureWatermark(count=30, draw=7, target=None, training=Training(epochs=1)),
            "pool",
            "--outliers digits/pool",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_with_a_watermark_has_its_trained_mark_as_well(made, digits, recipe, source, option):
    code, out, err = made(f"fit '{recipe!r}' --victim victim --data digits --out model {option}")
    assert code == 0, out + err
    code, out, err = made("mark model --data digits --out marked2 --rehearsals 0")
    assert (code, "of its 30 labels" in err) == (0, True), out + err
    mark, wanted = Mark.load("marked2/trained_mark"), trained_mark(recipe, getattr(digits, source), 10)
    assert torch.equal(mark.x, wanted.x)
    assert mark.labels.tolist() == wanted.labels.tolist()
    assert Path("marked2/triggers").is_dir()
    notes = Path(f"model/{RECIPE}")
    chosen = recipe.triggers(getattr(digits, source), 10)[0].fingerprint
    notes.write_text(notes.read_text().replace(chosen, "0" * 16))  # as if the data had been others
    code, _, err = made("mark model --data digits --out marked3")
    assert (code, "restore the data" in err, Path("marked3").exists()) == (2, True, False)


def test_two_classes_have_a_trained_mark(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 7},{i % 5},{'yes' if i % 7 + i % 5 > 5 else 'no'}" for i in range(300)]
    Path("rows.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    domain = samples_at("rows.csv").split.domain
    victims.save("victim", Network("logistic", domain, 2).build(0))
    code, out, err = run_cli("mark victim --data rows.csv --out marked --expect-accuracy 0.1")
    assert (code, "a model of 2 classes" in err) == (2, True), out + err
    code, out, err = run_cli("mark victim --data rows.csv --out marked --expect-accuracy 0.1 --students")
    assert (code, out, len(err.splitlines()), "--students for a model of Columns" in err) == (2, "", 1, True), err
    line = "--data rows.csv --expect-accuracy 0.1"
    code, out, err = run_cli(f"fit MarginWatermark(count=20) --victim victim {line} --out model")
    assert (code, out, len(err.splitlines()), "may have it" in err) == (2, "", 1, True)
    code, out, err = run_cli(f"fit MarginWatermark(count=20,draw=7) --victim victim {line} --out model")
    assert code == 0, out + err
    code, out, err = run_cli(f"mark model {line} --out marked")
    assert code == 0, out + err
    assert [place.name for place in sorted(Path("marked").iterdir())] == ["ordinary_inputs", "trained_mark"]
    notes = Path(f"model/{RECIPE}")
    notes.write_text(notes.read_text().replace("draw=7", "draw=0"))  # as earlier versions trained it
    code, out, err = run_cli(f"mark model {line} --out marked0")
    assert (code, out, Path("marked0").exists()) == (2, "", False)
    assert "no trained mark: got MarginWatermark with draw=0" in err


def test_controls_are_trained_once(made):
    before = Path(f"controls/000/{RECIPE}").stat().st_mtime_ns
    code, out, _ = made("controls victim --data digits --out controls --count 9")
    assert code == 0, out
    assert Path(f"controls/000/{RECIPE}").stat().st_mtime_ns == before
    assert Path("controls/008").is_dir()
    code, _, err = made("controls victim --data digits --out controls --count 9 --training Training(epochs=1)")
    assert code == 2
    assert "another recipe" in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("claim copy --mark none --controls controls", "without a mark"),
        ("claim copy --mark marked --controls none", "without a model"),
        ("claim none --mark marked --controls controls", "does not exist"),
        ("claim copy --mark marked --controls controls --ledger none.db", "none.db, which does not exist"),
        ("claim copy --mark marked --controls controls --tsa-root root.pem", "--tsa-root without --ledger"),
        ("claim copy --mark marked --controls controls --appeared yesterday", "a date like"),
        ("claim copy --mark marked --controls controls --appeared 2100-01-01", "in the future"),
        ("claim copy --mark marked --controls controls --alpha 2", "probabilities between 0 and 1"),
        ("claim copy --mark marked --controls controls --budget 0", "1 or more"),
        ("commit none --ledger own.db", "without a mark"),
        ("mark victim --data digits --out marked", "which exists"),
        ("controls victim --data digits --out more --count 0", "1 or more"),
    ],
)
def test_an_error_is_one_line(made, line, words):
    code, _, err = made(line)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("none").exists()


def test_a_suspect_that_somebody_else_asks_is_claimed_by_its_answers(made):
    code, out, err = made("questions marked --out questions.npz")
    assert (code, "questions.npz: " in out) == (0, True), err
    with np.load("questions.npz") as asked:
        names, x = asked["question"].tolist(), torch.from_numpy(asked["x"] / np.float32(255))
    labels = victims.load("copy")(x).argmax(-1).tolist()
    lines = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
    Path("answers.csv").write_text("\n".join(["question,label", *lines]) + "\n")
    code, out, err = made(f"claim answers.csv {CLAIM} --out claimed")
    assert (code, "evidence that this is a copy" in out, "Without an answer" in out) == (0, True, False), out + err
    assert {file.name for file in Path("claimed").iterdir()} == {"claim.json", "claim.html"}
    Path("answers.csv").write_text("\n".join(["question,label", *lines[:25], *lines[26::3]]) + "\n")
    code, out, err = made(f"claim answers.csv {CLAIM}")
    assert (code, "Without an answer" in out) == (1, True), out + err
    code, out, err = made("questions marked --out questions.npz")
    assert (code, out, len(err.splitlines()), "which is there" in err) == (2, "", 1, True)
