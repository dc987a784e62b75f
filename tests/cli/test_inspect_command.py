"""`feint inspect` and the model.toml that it writes, through the commands that take it."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from tests.support import json_api
from tests.support.json_api import Api, serving
from tests.support.prototypes import NAMES, samples

from feint import victims
from feint.cli.common import owner_samples

MODEL = """
from tests.support.prototypes import Nearest

def make():
    return Nearest(lambda x: x / 255)

def paid(rows):
    return [[0.9, 0.1] if row[0] < 40 else [0.1, 0.9] for row in rows]

def shouting(texts):
    return [[0.1, 0.9] if text[-1:].isupper() else [0.9, 0.1] for text in texts]

shouting.classes, shouting.values = ("quiet", "loud"), "probabilities"

paid.classes, paid.values, paid.price_per_1000, paid.currency = ("good", "bad"), "probabilities", 5, "EUR"
"""


@pytest.fixture
def owner(run_cli, tmp_path, monkeypatch):
    """Run command lines in a directory with a model that takes 0 to 255, and its samples."""
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"owner_{tmp_path.name}"
    Path(f"{name}.py").write_text(MODEL)
    split = samples()
    np.savez("photos.npz", images=split.values, labels=np.array(NAMES)[split.labels.numpy()])
    return lambda line: run_cli(line.replace("OWNER", name))


def test_the_adapter_is_written_with_its_evidence(owner):
    code, out, err = owner("inspect OWNER:make --data photos.npz")
    assert code == 0, err
    assert "accuracy 1.00 on 400 samples with NCHW, 0 to 255, RGB, classes as the answers match" in out
    assert "model.toml: written. Next: feint audit model.toml --data photos.npz" in out
    table = tomllib.loads(Path("model.toml").read_text())
    assert table["adapter"]["inputs"]["high"] == 255
    assert sorted(table["adapter"]["classes"]) == sorted(NAMES)
    assert any("with NCHW, 0 to 1, RGB" in line for line in table["evidence"])


def test_the_next_command_has_the_options_that_the_samples_need(owner):
    split = samples()
    np.savez("my photos.npz", images=split.values, kind=np.array(NAMES)[split.labels.numpy()])
    code, out, err = owner("inspect OWNER:make --data 'my photos.npz' --label kind")
    assert code == 0, err
    assert out.endswith("Next: feint audit model.toml --data 'my photos.npz' --label kind\n")
    code, _, err = owner("inspect OWNER:make --data 'my photos.npz' --label kind")
    assert (code, "--out model.toml, which exists; expected a new file" in err) == (2, True)


def test_named_classes_are_the_order_of_the_scores(owner):
    names = f"--classes {','.join(NAMES)}"
    code, _, err = owner(f"inspect OWNER:make --data photos.npz {names}")
    assert code == 0, err
    table = tomllib.loads(Path("model.toml").read_text())
    assert table["adapter"]["classes"] == list(NAMES)
    assert not any("classes as the answers match" in line for line in table["evidence"])
    Path("names.txt").write_text("\n".join(reversed(NAMES)))
    code, _, err = owner("inspect OWNER:make --data photos.npz --classes names.txt --out other.toml")
    assert code == 2  # under another order the model is never right, and no other order is tried
    code, _, err = owner("inspect OWNER:make --data photos.npz --classes one --out other.toml")
    assert code == 2
    assert "two or more different names" in err


def test_a_file_that_is_there_is_kept(owner):
    Path("model.toml").write_text("mine")
    code, _, err = owner("inspect OWNER:make --data photos.npz")
    assert code == 2
    assert "--out model.toml, which exists" in err
    assert Path("model.toml").read_text() == "mine"


def test_nothing_is_written_for_a_model_that_is_never_right(owner):
    split = samples()
    np.savez("noise.npz", images=np.random.default_rng(0).integers(0, 255, split.values.shape, np.uint8),
             labels=split.labels.numpy())  # fmt: skip
    code, _, err = owner("inspect OWNER:make --data noise.npz")
    assert code == 2
    assert "expected an adapter under which it is better than chance" in err
    assert not Path("model.toml").exists()


def test_without_samples_an_open_model_is_refused(owner):
    code, _, err = owner("inspect OWNER:make")
    assert code == 2
    assert "feint inspect" in err


def test_a_paid_model_needs_a_ceiling_and_its_price_is_said_first(owner):
    Path("rows.csv").write_text(
        "age,label\n" + "\n".join(f"{age},{'good' if age < 40 else 'bad'}" for age in range(20, 60))
    )
    code, out, err = owner("inspect OWNER:paid --data rows.csv")
    assert (code, out) == (2, "")
    assert "which costs 5.00 EUR for 1,000 calls; expected a ceiling on the calls; --max-calls N" in err
    code, out, err = owner("inspect OWNER:paid --data rows.csv --max-calls 24 --out few.toml")
    assert (code, "accuracy 1.00 on 24 samples" in out) == (0, True), err
    code, out, err = owner("inspect OWNER:paid --data rows.csv --max-calls 60")
    assert code == 0, err
    assert "at most 60 calls, 0.30 EUR" in err
    assert out.endswith("Next: feint audit model.toml --data rows.csv --max-calls N\n")
    assert "accuracy 1.00 on 40 samples" in out


def test_an_api_is_inspected_and_used_by_its_model_file(owner):
    rows = [{"age": 20 + i, "housing": ("own", "rent")[i % 2]} for i in range(40)]
    lines = [f"{row['age']},{row['housing']},{('good', 'bad')[json_api.probability(row) > 0.5]}" for row in rows]
    Path("rows.csv").write_text("age,housing,label\n" + "\n".join(lines))
    api = Api(json_api.label_and_score)
    with serving(api) as url:
        Path("victim.toml").write_text(
            f'url = "{url}"\nclasses = ["good", "bad"]\ntemplate = \'{{"features": "$row"}}\'\n'
        )
        code, out, err = owner("inspect victim.toml --data rows.csv")
        assert code == 0, err
        assert err == "feint: victim.toml: no ceiling on the calls (--max-calls), price unknown\n"
        assert "accuracy 1.00 on 40 samples with the inputs that it states" in out
        sent = len(api.bodies)
        assert sent == 40

        from feint.data.files import samples_at
        from feint.victims import load_any, predict

        model = load_any("model.toml")
        p = predict(model, samples_at("rows.csv", model.domain).split.inputs())
    assert len(api.bodies) == sent  # the answers were kept
    assert p[0, 1].item() == pytest.approx(json_api.probability(rows[0]), abs=1e-6)


def test_commands_stop_at_a_wrong_setup_and_go_on_with_the_model_file(owner):
    wrong = 'fit "APGP(top=1, steps=50)" --victim OWNER:make --data photos.npz --out apgp'
    code, _, err = owner(wrong)
    assert code == 2
    assert "and on 100.0% with NCHW, 0 to 255, RGB, classes as the answers match (eight is score 8" in err
    assert not Path("apgp").exists()
    assert owner("inspect OWNER:make --data photos.npz --out right.toml")[0] == 0
    code, _, err = owner('fit "APGP(top=1, steps=50)" --victim right.toml --data photos.npz --out apgp')
    assert code == 0, err
    code, _, err = owner("export right.toml --data photos.npz --expect-accuracy 1.2 --out x.onnx")
    assert (code, "a share from 0 to 1" in err) == (2, True)


def test_evaluate_checks_the_victim(owner, victim):
    from feint import victims

    victims.save("victim", victim)
    code, out, err = owner("evaluate victim --victim victim --data digits --json")
    assert code == 0, err
    assert json.loads(out)["fidelity"] == 1
    code, _, err = owner("evaluate victim --victim victim --data digits --expect-accuracy 0.9999")
    assert code == 2
    assert "expected 100.0% (--expect-accuracy)" in err


def test_an_api_is_stolen_within_its_ceiling_and_the_copy_is_evaluated(owner):
    rows = [{"age": 18 + i / 2, "housing": ("own", "rent")[i % 2]} for i in range(100)]
    lines = [f"{row['age']},{row['housing']},{('good', 'bad')[json_api.probability(row) > 0.5]}" for row in rows]
    Path("rows.csv").write_text("age,housing,label\n" + "\n".join(lines))
    api = Api(json_api.label_and_score)
    steal = (
        'steal --victim victim.toml --pool rows.csv --budget 60 --surrogate mlp --training "Training(epochs=2)" '
        "--out stolen"
    )
    with serving(api) as url:
        Path("victim.toml").write_text(
            f'url = "{url}"\nclasses = ["good", "bad"]\ntemplate = \'{{"features": "$row"}}\'\nprice_per_1000 = 2\n'
        )
        code, _, err = owner(steal)
        assert (code, "--max-calls N" in err, api.bodies) == (2, True, [])
        code, _, err = owner("export victim.toml --defense LabelOnly --data rows.csv --out victim.onnx")
        assert (code, "got an API's answers" in err, api.bodies) == (2, True, [])
        code, _, err = owner(f"{steal} --max-calls 40")
        assert (code, len(api.bodies)) == (2, 40)
        assert "expected at most 40 (--max-calls); raise it and run again: what was answered is kept" in err
        code, out, err = owner(f"{steal} --max-calls 40")
        assert code == 0, err
        assert "40 answers are known from earlier runs" in err
        assert len(api.bodies) <= 60
        code, out, err = owner("evaluate stolen --victim victim.toml --data rows.csv --max-calls 100 --json")
        assert code == 0, err
        assert json.loads(out)["n_test"] == 100
        assert len(api.bodies) <= 100


def test_labels_that_are_numbers_of_some_classes_are_these_classes(owner):
    split = samples()
    rows = (split.labels > 0).numpy()
    x, y = split.values, split.labels.numpy()
    np.savez("all.npz", images=x, labels=y)
    np.savez("some.npz", images=x[rows], labels=y[rows])
    code, _, err = owner("inspect OWNER:make --data all.npz")
    assert code == 0, err
    reading = owner_samples("some.npz", victims.load_any("model.toml"))
    assert (reading.split.labels.numpy() == y[rows]).all()
    assert reading.classes == tuple(map(str, range(len(NAMES))))


@pytest.fixture
def letters():
    """Samples whose last letter is their class; the last two texts are longer than a power of two that holds 95 %."""
    texts = ["ab" * 10 + "cC"[i % 2] for i in range(60)] + ["a" * 99 + end for end in "cC"]
    Path("texts.csv").write_text("text,label\n" + "".join(f"{t},{('quiet', 'loud')[t[-1] == 'C']}\n" for t in texts))
    return texts


def test_the_length_of_texts_is_said_and_may_be_another_one(owner, letters):
    code, out, err = owner("inspect OWNER:shouting --data texts.csv")
    assert code == 0, err
    assert "length    32 bytes: longer texts are refused (--length)" in out
    assert "2 of 62 texts are longer than 32 bytes and were cut" in out
    code, out, err = owner("inspect OWNER:shouting --data texts.csv --length 100 --out whole.toml")
    assert code == 0, err
    assert "accuracy 1.00 on 62 samples" in out
    assert "were cut" not in out
    model = victims.load_any("whole.toml")
    assert model.domain.length == 100
    assert model.domain.from_strings(letters[-1:]).shape == (1, 100)


def test_a_length_of_images_is_refused(owner):
    code, _, err = owner("inspect OWNER:make --data photos.npz --length 9")
    assert code == 2
    assert "got --length 9 for images; expected texts, or sequences of any length; leave it out" in err
    assert not Path("model.toml").exists()
