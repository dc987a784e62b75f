"""The audit: every kind of model, the files, the gate of a build, and refusals."""

import json
import re
import tomllib

import numpy as np
import onnx
import pytest
import safetensors.torch
import skops.io
import torch
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from tests.support.open_inference import served

from feint import victims
from feint.audit import attacker, candidates, output, plan, run
from feint.audit.gate import GateLimit
from feint.audit.samples import load_samples
from feint.defense import Defense
from feint.defenses.outputs import APGP, AdaptiveMisinformation, LabelOnly, ReverseSigmoid
from feint.defenses.parsing import parse_defense
from feint.errors import BadInput, DamagedFile, MissingData
from feint.i18n import LANGUAGES, texts
from feint.models.networks import Network
from feint.models.training import Training, train
from feint.service import Service
from feint.signature import Pixels

QUICK = "--minutes 0.01 --defense LabelOnly --defense ReverseSigmoid"
REPORT = output.report.write
KEYS = {
    "format", "model", "plan", "partial", "missing", "failures", "thefts", "defenses", "recommendation", "flags",
    "standards", "provenance", "next", "promise", "ownership",
}  # fmt: skip


def linear_graph(victim_path: str, digits) -> LogisticRegression:
    """An estimator and the same one as an ONNX file with probabilities, written by hand."""
    images = digits.train.inputs()[:400].flatten(1).double().numpy()
    estimator = LogisticRegression(max_iter=200).fit(images, digits.train.labels[:400].numpy())
    weights = numpy_helper.from_array(estimator.coef_.T.astype(np.float32), "w")
    bias = numpy_helper.from_array(estimator.intercept_.astype(np.float32), "b")
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"], axis=-1),
    ]
    tensors = [("x", ["n", 1, 8, 8]), ("p", ["n", 10])]
    x, p = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in tensors)
    graph = helper.make_graph(nodes, "g", [x], [p], [weights, bias])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), victim_path)
    return estimator


@pytest.mark.slow
def test_every_kind_of_model_is_audited_end_to_end(model, digits, victim, tmp_path):
    skops.io.dump(linear_graph("model.onnx", digits), "model.skops")
    safetensors.torch.save_file(victim.state_dict(), "weights.safetensors")
    (tmp_path / "owners_audit.py").write_text("from feint import victims\ndef make(): return victims.load('victim')\n")
    reports = {}
    for place in (
        "victim", "model.onnx", "model.skops", "weights.safetensors --network mlp", "owners_audit:make",
    ):  # fmt: skip
        code, out, err = model(f"{place} --data digits {QUICK} --json --out {place[:6]}")
        assert code == 0, err
        reports[place] = json.loads(out)
        assert set(reports[place]) == KEYS
        assert reports[place]["thefts"][-1]["queries"] == 40
        assert [defense["name"] for defense in reports[place]["defenses"]] == ["LabelOnly", "ReverseSigmoid"]
    assert np.isclose(*(reports[name]["model"]["accuracy"] for name in ("model.onnx", "model.skops")))
    same = ("victim", "weights.safetensors --network mlp", "owners_audit:make")
    assert len({reports[name]["model"]["fingerprint"] for name in same}) == 1
    assert len({json.dumps(reports[name]["thefts"]) for name in same}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("lang", LANGUAGES)
def test_audit_fits_on_one_screen_and_repeats_from_its_cache(model, tmp_path, lang, monkeypatch):
    if lang == "zh":  # once is enough: the pictures take seconds
        monkeypatch.setattr(output.report, "write", REPORT)
    line = f"victim --data digits {QUICK} --price-per-1000 2 --lang {lang}"
    code, out, err = model(line)
    assert code == 0, err
    assert out.count("\n") <= 40
    assert ("The attacker asks about images of digits/held_out" in out) == (lang == "en")
    assert "digits/held_out" in out
    assert "{" not in out
    assert "0.08" in out
    assert "AISVS 11.3.3" in out
    rows = sorted((tmp_path / "feint-audit/victim/.work").glob("*/rows/*.json"))
    before = [row.stat().st_mtime_ns for row in rows]
    assert model(line)[1] == out
    assert [row.stat().st_mtime_ns for row in rows] == before
    page = (tmp_path / "feint-audit/victim/audit.html").read_text()
    assert page.count("AISVS 11.") == 6
    assert ("What you may promise" in page) == (lang == "en")
    rows_page = (tmp_path / "feint-audit/victim/report.html").read_text("utf-8")
    assert rows_page.count("t-SNE") >= (2 if lang == "zh" else 0)
    assert ('lang="zh' in rows_page) == (lang == "zh")
    stored = json.loads((tmp_path / "feint-audit/victim/audit.json").read_text())
    assert [tried["name"] for tried in stored["promise"]["attackers"]][:2] == ["pool", "selected"]
    assert (
        tomllib.loads((tmp_path / "feint-audit/victim/defense.toml").read_text())
        == stored["recommendation"]["settings"]
    )
    assert isinstance(parse_defense(["feint-audit/victim/defense.toml"]), Defense)


def test_every_phrase_is_there_in_both_languages():
    for name, translations in texts("feint.audit").items():
        assert set(translations) == set(LANGUAGES), name
        assert len({tuple(sorted(set(re.findall(r"{\w+}", text)))) for text in translations.values()}) == 1, name


@pytest.mark.slow
def test_a_url_is_asked_once_for_each_input_and_one_that_goes_away_loses_nothing(model, victim, digits, tmp_path):
    with served(Service(victim), shape=(1, 8, 8), classes=10) as server:
        line = f"--url {server.url} --model toy --data digits {QUICK}"
        server.dies_after = 2
        code, out, err = model(line)
        assert code == 2, err
        assert "what was answered is kept" in err, err
        asked = server.service.ledger.queries
        server.dies_after = -1
        code, out, err = model(line)
        assert code == 0, err
        assert "PARTIAL" not in out, err
        assert "simulated in front" in out, err
        assert "at most 1,078 different images" in out, err
        sent = server.service.ledger.queries
        inputs = 359 + 80  # the samples, and the images of the pool on which attackers are tried and thefts run
        assert asked < sent <= inputs
        assert model(line)[0] == 0
        assert server.service.ledger.queries == sent
        (tmp_path / "toy.toml").write_text(f'url = "{server.url}"\nmodel = "toy"\n')
        code, _, err = model(f"toy.toml --data digits {QUICK} --out described")
        assert code == 0, err
        assert server.service.ledger.queries == sent  # another command, in another directory
        assert model(f"{line} --defense APMSA --out other")[2].count("without gradients") == 1
    assert json.loads((tmp_path / "feint-audit/toy/audit.json").read_text())["partial"] is False


def test_a_url_with_a_price_needs_a_ceiling_and_each_answer_that_came_is_kept(model, victim):
    with served(Service(victim), shape=(1, 8, 8), classes=10) as server:
        line = f"--url {server.url} --model toy --data digits {QUICK} --price-per-1000 2 --currency EUR"
        code, _, err = model(line)
        assert code == 2
        assert "costs 2.00 EUR for 1,000 calls; expected a ceiling on the calls; --max-calls N" in err
        code, _, err = model(f"{line} --max-calls 400")
        assert code == 2
        assert "got 439 images to ask about, 0.88 EUR; expected at most 400 (--max-calls); raise it, or " in err
        assert server.service.ledger.queries == 0
        server.dies_after = 1
        code, _, err = model(f"{line} --max-calls 900")
        assert code == 2
        assert f"feint: {server.url}: at most 900 calls, 1.80 EUR\n" in err
        sent = server.service.ledger.queries
        assert sent > 0
        code, _, err = model(f"{line} --max-calls 900")
        assert f"at most 900 calls, 1.80 EUR; {sent} answers are known from earlier runs" in err


@pytest.mark.slow
def test_the_gate_of_a_build(model):
    line = f"victim --data digits {QUICK} --out run"
    code, _, err = model(f"{line} --fail-above fidelity@40=0.01 --fail-above stealer_accuracy@40=1")
    assert code == 1
    assert err.count("fidelity@40") == 2
    assert err.count("\n") == 2
    assert "above 0.01" in err
    assert model(f"{line} --fail-above fidelity@40=1")[0] == 0
    code, out, err = model(f"{line} --fail-above fidelity@5000=0.99")
    assert code == 2
    assert "no complete result for fidelity@5000" in err
    assert "AISVS" in out
    for wrong in ("accuracy@40=0.5", "fidelity=0.5", "fidelity@40=2", "fidelity@x=1"):
        with pytest.raises(BadInput, match="SCORE@QUERIES"):
            GateLimit.parse(wrong)


@pytest.mark.slow
def test_an_audit_ends_with_its_minutes_and_continues(model, monkeypatch, tmp_path):
    from feint.bench import executor

    class Clock:
        now, tick = 0.0, 2.0

        @classmethod
        def monotonic(cls):
            cls.now += cls.tick
            return cls.now

    line = "victim --data digits --minutes 1 --defense LabelOnly --out run --fail-above fidelity@20=1"
    monkeypatch.setattr(plan, "OVERHEAD", 0.0)
    monkeypatch.setattr(attacker.Attacker, "seconds_for", lambda *_: 1e-5)
    monkeypatch.setattr(plan, "TUNED", 1e9)
    monkeypatch.setattr(plan, "restorer_seconds", lambda *_: 1e9)
    monkeypatch.setattr(run, "time", Clock)
    monkeypatch.setattr(executor, "time", Clock)
    code, out, err = model(line)
    made = len(list((tmp_path / "run/.work").glob("*/rows/*.json")))
    assert code == 2, err
    assert "PARTIAL" in out, err
    assert "no complete result for fidelity@20" in err, err
    assert 5 < made < 60
    Clock.tick = 0.0
    code, out, err = model(line)
    assert code == 0, err
    assert "PARTIAL" not in out, err
    assert len(list((tmp_path / "run/.work").glob("*/rows/*.json"))) > made


@pytest.mark.slow
def test_what_learns_is_fitted_kept_and_deployed_from_there(model, victim, tmp_path, monkeypatch):
    from feint.audit import findings

    monkeypatch.setattr(findings, "recommend", lambda effects: effects[0])
    code, out, err = model(
        "victim --data digits --minutes 0.01 --defense 'APGP(top=1, steps=50)' --budget 60 --json --out run"
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["recommendation"]["settings"]["outputs"][0]["kind"] == "Loaded"
    assert 60 in report["plan"]["budgets"]
    deployed = parse_defense(["run/defense.toml"], victim=victims.fingerprint(victim))
    assert isinstance(deployed.outputs[0], APGP)
    assert deployed.outputs[0].generator is not None


def test_an_attacker_knows_the_method_and_not_what_it_learned(victim, digits):
    fitted = Defense(outputs=[APGP(top=1, steps=20).fit(victim, digits.train), ReverseSigmoid()])
    assert candidates.unfitted(fitted) == Defense(outputs=[APGP(top=1, steps=20), ReverseSigmoid()])
    misled = AdaptiveMisinformation(training=Training(epochs=1)).fit(victim, digits.train, outliers=digits.pool)
    assert candidates.unfitted(misled) == AdaptiveMisinformation(training=Training(epochs=1))
    assert candidates.labels_only(Defense(outputs=[LabelOnly()]))


def test_samples_of_every_form_are_the_same(tmp_path, monkeypatch, digits):
    images, labels = digits.test.values, digits.test.arrays[1]
    forms = {"planes": images, "plain": images[:, 0], "last": images.transpose(0, 2, 3, 1)}
    forms["floats"] = images / np.float32(255)
    for name, array in forms.items():
        np.savez(tmp_path / f"{name}.npz", images=array, labels=labels)
        samples = load_samples(str(tmp_path / f"{name}.npz"), None, Pixels((1, 8, 8)))
        assert samples.notes[0].phrase == "pool of samples"
        parts = [split.values for split in (samples.fit, samples.judge, samples.pool)]
        joined = np.concatenate(parts).reshape(len(images), -1)
        assert np.array_equal(np.unique(joined, axis=0), np.unique(images.reshape(len(images), -1), axis=0))
    named = load_samples("digits", None, Pixels((1, 8, 8)))
    assert np.array_equal(named.pool.values, digits.pool.values)
    pool = tmp_path / "pool.npz"
    np.savez(pool, images=digits.pool.values)
    assert load_samples("digits", str(pool), None).pool.fingerprint
    few = np.concatenate([digits.pool.values, images[:5]])
    np.savez(pool, images=few)
    assert len(load_samples("digits", str(pool), None).pool) == len(digits.pool)


def test_a_directory_of_images_is_read(tmp_path, digits):
    pytest.importorskip("datasets")
    from PIL import Image

    for i, (image, label) in enumerate(zip(digits.test.values[:120], digits.test.arrays[1], strict=False)):
        (tmp_path / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(tmp_path / "images" / str(label) / f"{i}.png")
    samples = load_samples(str(tmp_path / "images"), "digits", Pixels((1, 8, 8)))
    assert len(samples.fit) + len(samples.judge) == 120
    assert samples.judge.labels.max() == 9


@pytest.mark.slow
def test_attackers_begin_with_pretrained_weights_where_these_predict_more(model, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "CHOOSING", 100.0)  # both are tried
    victims.save("public", train(Network("mlp", digits.domain, 10), digits.train, training=Training(epochs=10), seed=7))
    line, plans = "victim --data digits --minutes 0.01 --defense LabelOnly --json --out run", []
    for options in ("--pretrained public", "--pretrained public", ""):
        code, out, err = model(f"{line} {options}")
        assert code == 0, err
        plans.append(
            (json.loads(out)["plan"], *(file.stat().st_mtime_ns for file in tmp_path.glob("run/.work/*/rows/*")))
        )
    assert plans[0] == plans[1]
    assert [made["surrogate"] for made, *_ in plans] == ["pretrained mlp", "pretrained mlp", "mlp"]
    assert plans[0][0]["tried"]["pretrained mlp"] > plans[0][0]["tried"]["mlp"]
    assert "pretrained mlp" not in plans[2][0]["tried"]


def test_what_cannot_be_audited_is_said_in_one_line(model, digits, tmp_path):
    images, labels = digits.test.values, digits.test.arrays[1]
    arrays = {
        "bare": {"images": images}, "few": {"images": images[:50], "labels": labels[:50]},
        "bands": {"images": np.zeros((200, 5, 9, 9), np.uint8), "labels": labels[:200]},
        "raw": {"images": images.astype(np.float32), "labels": labels},
        "beyond": {"images": images, "labels": np.arange(len(labels)) % 12},
        "short": {"images": images, "labels": labels[:9]},
        "pool": {"images": images},
    }  # fmt: skip
    for name, content in arrays.items():
        np.savez(tmp_path / f"{name}.npz", **content)
    linear_graph("model.onnx", digits)
    for name, shape in (("wide", (1, 9, 9)), ("linear", (1, 8, 8))):
        victims.save(name, Network("linear" if name == "linear" else "mlp", Pixels(shape), 10).build())
    for line, says in (
        ("victim --data digits --pretrained wide", "pretrain the surrogate's network"),
        ("victim --data digits --pretrained linear", "one with hidden layers"),
        ("victim --data digits --pretrained nowhere", "nowhere"),
        ("victim --data bare.npz", "inputs and labels"),
        ("victim --data few.npz", "100 or more"),
        ("victim --data bands.npz", "(N, C, H, W)"),
        ("victim --data raw.npz", "floats in [0, 1]"),
        ("victim --data beyond.npz", "other orders of the labels"),
        ("victim --data short.npz", "as many labels as inputs"),
        ("victim --data none.npz", "check the path"),
        ("victim --data digitz", "did you mean 'digits'"),
        ("victim --data digits --pool pool.npz", "are all samples"),
        ("victim --data digits --minutes 0", "more than 0"),
        ("victim --data digits --lang fr", "one of en, zh"),
        ("victim --data digits --defense 'ReverseSigmoid(gamma=0)'", "gamma > 0"),
        ("victim --data digits --fail-above fidelity", "SCORE@QUERIES"),
        ("model.onnx --data digits --defense APMSA", "without gradients"),
        ("owners_nowhere:make --data digits", "no module"),
        ("nowhere --data digits", "does not exist"),
        ("victim --data digits --url http://localhost:1 --model toy", "two models"),
        ("--data digits", "no model"),
        ("--data digits --url http://localhost:1 --model toy", "a server that answers"),
    ):
        code, _, err = model(f"{line} --out run" if "--minutes" in line else f"{line} --minutes 0.01 --out run")
        assert code == 2, (line, err)
        assert says in err, (line, err)
        assert err.count("\n") == 1, (line, err)


def test_errors_have_their_kind(tmp_path):
    (tmp_path / "noise.npz").write_bytes(b"noise")
    with pytest.raises(DamagedFile):
        load_samples(str(tmp_path / "noise.npz"), None, None)
    with pytest.raises(MissingData):
        load_samples(str(tmp_path / "none.npz"), None, None)


@pytest.mark.slow
def test_a_retrained_model_under_the_same_name_is_another_model(model, digits, tmp_path):
    images, labels = digits.train.inputs().flatten(1).double().numpy(), digits.train.labels.numpy()
    line, prints = "model.skops --data digits --minutes 0.01 --defense 'APGP(top=1, steps=20)'", []
    for rows in (slice(0, 400), slice(400, 800), slice(0, 400)):
        skops.io.dump(LogisticRegression(max_iter=200).fit(images[rows], labels[rows]), "model.skops")
        code, _, err = model(line)
        assert code == 0, err
        page = json.loads((tmp_path / "feint-audit/model.skops/audit.json").read_text())
        prints.append(page["model"]["fingerprint"])
    assert prints[0] == prints[2] != prints[1]
    works = [folder.parent.name for folder in (tmp_path / "feint-audit/model.skops/.work").glob("*/rows")]
    assert sorted(works) == sorted(set(prints))


@pytest.mark.slow
def test_a_wrong_set_up_stops_before_the_plan(model, digits, tmp_path):
    shifted = (digits.test.arrays[1] + 1) % 10
    np.savez(tmp_path / "shifted.npz", images=digits.test.values, labels=shifted)
    noise = np.random.default_rng(0).permutation(digits.test.arrays[1])
    np.savez(tmp_path / "noise.npz", images=digits.test.values, labels=noise)
    for place in ("shifted", "noise"):
        code, out, err = model(f"victim --data {place}.npz --minutes 0.01")
        assert code == 2, err
        assert "right on" in err
        assert "Plan" not in out
        assert not (tmp_path / "feint-audit/victim/audit.html").exists()
    code, out, err = model("victim --data digits --expect-accuracy 0.999 --minutes 0.01")
    assert code == 2
    assert "99.9%" in err
    assert "Plan" not in out


def test_ctrl_c_reports_what_is_there(model, monkeypatch, tmp_path):
    from feint.bench import matrix

    whole, count = matrix.Matrix.row, 0

    def row(self, cell, **given):
        nonlocal count
        count += 1
        if count > 9:
            raise KeyboardInterrupt
        return whole(self, cell, **given)

    monkeypatch.setattr(matrix.Matrix, "row", row)
    line = f"victim --data digits {QUICK} --out run"
    code, out, err = model(line)
    assert code == 130
    assert "PARTIAL" in out
    assert "interrupted" in err
    assert len(list((tmp_path / "run/.work").glob("*/rows/*.json"))) == 9
    monkeypatch.undo()
    assert torch.get_num_threads() == 1
