"""What is wrong with a suspect, a mark or a control is an error of one line, and what was answered is kept."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support import json_api
from tests.support.open_inference import served
from tests.support.problems import LinearOn

from feint.errors import BadInput, FeintError
from feint.models import stored
from feint.models.networks import Network
from feint.models.training import Training, train
from feint.ownership import Mark, SameMistakes, Triggers
from feint.ownership.controls import control_answers
from feint.ownership.selection import labels_of
from feint.service import Service
from feint.signature import Column, Columns, Pixels

LINE = "--mark marked --controls controls --most-false 0.9"


@pytest.fixture
def files(run_cli, tmp_path, victim, digits):
    """A mark of 120 wrong labels, two controls, and a copy, in the working directory."""
    labels = (digits.test.labels[:120] + 1) % 10
    x = digits.test.inputs(slice(0, 120))
    Mark.of("trained mark", digits.domain, 10, x, labels).save(tmp_path / "marked/trained_mark")
    for seed in range(2):
        stored.save(
            tmp_path / f"controls/{seed}", train(victim.network, digits.train, training=Training(epochs=1), seed=seed)
        )
    stored.save(tmp_path / "copy", victim)
    return run_cli


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Network("mlp", Pixels((1, 8, 8)), 7), "a suspect with 7 classes"),
        (Network("mlp", Pixels((1, 9, 9)), 10), "9, 9"),
    ],
    ids=["other classes", "other inputs"],
)
def test_a_suspect_of_another_task_is_an_error(files, tmp_path, other, words):
    stored.save(tmp_path / "suspect", other.build())
    code, out, err = files(f"claim suspect {LINE}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


@pytest.mark.parametrize("other", [Network("mlp", Pixels((1, 8, 8)), 7), Network("mlp", Pixels((1, 9, 9)), 10)])
def test_a_control_of_another_task_is_named(files, tmp_path, other):
    stored.save(tmp_path / "controls/odd", other.build())
    code, out, err = files(f"claim copy {LINE}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the control odd" in err
    assert "take it out" in err


def test_one_model_is_no_two_controls(files, tmp_path):
    shutil.copytree(tmp_path / "controls/0", tmp_path / "controls/again")
    code, out, err = files(f"claim copy {LINE}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "0 and again, which are one model" in err


def test_a_mark_of_another_model_is_an_error(files, tmp_path):
    x = torch.rand(30, 1, 9, 9)
    Mark.of("triggers", Pixels((1, 9, 9)), 10, x, torch.zeros(30).long()).save(tmp_path / "other/triggers")
    code, _, err = files(f"claim copy {LINE.replace('marked', 'other')}")
    assert code == 2
    assert "the control 0" in err


@pytest.mark.parametrize(
    "answer",
    [np.full((50, 10), np.nan, np.float32), np.zeros((3, 10), np.float32), np.full((50, 10), 7.0, np.float32)],
    ids=["not a number", "too few", "no probabilities"],
)
def test_answers_that_are_no_labels_are_an_error(files, victim, answer):
    with served(Service(victim), shape=(1, 8, 8), classes=10) as server:
        server.instead = answer
        code, out, err = files(f"claim {server.url} --model toy {LINE}")
    assert (code, out, err.count("\n")) == (2, "", 2)
    assert err.startswith(f"feint: {server.url}: at most 1,000 calls, price unknown\nfeint: got ")


def test_an_endpoint_that_goes_away_is_asked_nothing_twice(files, victim):
    with served(Service(victim), shape=(1, 8, 8), classes=10) as server:
        server.dies_after = 2
        line = f"claim {server.url} --model toy {LINE} --out claimed"
        code, out, _ = files(line)
        assert code == 1
        assert "answered no more" in out
        assert json.loads(Path("claimed/claim.json").read_text())["queries"] == 100
        server.dies_after = -1
        code, out, _ = files(line)
        assert code == 1
        assert json.loads(Path("claimed/claim.json").read_text())["queries"] == 120
        assert server.service.ledger.queries == 120


def test_answers_of_an_address_are_kept_until_all_are_there(files, victim, tmp_path, monkeypatch, ctrl_c):
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    with served(Service(victim), shape=(1, 8, 8), classes=10) as server:
        line = f"claim {server.url} --model toy {LINE} --price-per-1000 5 --currency EUR --json"
        server.dies_after = 2
        code, out, err = files(line)
        assert (code, json.loads(out)["queries"]) == (1, 100)
        assert f"feint: {server.url}: at most 1,000 calls, 5.00 EUR\n" in err
        server.dies_after = -1
        with monkeypatch.context() as patched:
            patched.setattr(Service, "__call__", _interrupted(Service.__call__, ctrl_c))
            assert files(line)[0] == 130
        assert server.service.ledger.queries == 120
        assert json.loads(files(line)[1])["queries"] == 120
        assert server.service.ledger.queries == 120
        files(line)  # the suspect may be another one by now
        assert server.service.ledger.queries == 240


def _interrupted(call, ctrl_c):
    """The call of a service, while which Ctrl-C is pressed."""

    def interrupted(self, query):
        ctrl_c()
        return call(self, query)

    return interrupted


def test_a_json_api_is_asked_within_the_budget(run_cli, tmp_path, monkeypatch):
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    domain = Columns((Column("age", low=18, high=80), Column("housing", categories=("own", "rent"))))
    x = torch.from_numpy(domain.sample(60, 0))
    Mark.of("trained mark", domain, 2, x, torch.zeros(60).long()).save(tmp_path / "marked/trained_mark")
    for seed in range(2):
        stored.save(tmp_path / f"controls/{seed}", Network("logistic", domain, 2).build(seed))
    api = json_api.Api(json_api.label_and_score)
    with json_api.serving(api) as url:
        (tmp_path / "victim.toml").write_text(
            f'url = "{url}"\nclasses = ["good", "bad"]\ntemplate = \'{{"features": "$row"}}\'\nprice_per_1000 = 2\n'
        )
        code, out, err = run_cli(f"claim victim.toml {LINE} --budget 40 --json")
    assert (code, len(api.bodies)) == (1, 40), err
    assert json.loads(out)["queries"] == 40
    assert "at most 40 calls" in err


def test_too_few_mistakes_are_an_error_with_the_remedy(victim, digits):
    right = digits.test.of(digits.test.values, labels_of(victim, digits.test.inputs()).numpy(), domain=digits.domain)
    with pytest.raises(BadInput, match=r"gets 0 of 359 inputs wrong.*Triggers alone"):
        SameMistakes().mark(victim, right)


def test_too_few_blends_are_an_error_with_the_remedy(victim, digits):
    with pytest.raises(BadInput, match="SameMistakes alone"):
        Triggers(count=400, tries=1, least=400).mark(victim, digits.test)


@pytest.mark.parametrize("kind", [Triggers(), SameMistakes(least=1)], ids=lambda kind: kind.method)
def test_two_classes_have_no_mark_that_leaves_the_model_as_it_is(kind, digits):
    with pytest.raises(BadInput, match="a model of 2 classes"):
        kind.mark(LinearOn(digits.domain, 2).eval(), digits.test)


def test_controls_answer_every_mark(victim, digits):
    mark = Mark.of("triggers", digits.domain, 10, digits.test.inputs(slice(0, 5)), digits.test.labels[:5])
    known = control_answers({"a": victim}, [mark, mark])
    assert [len(labels) for labels in known["a"]] == [5, 5]
    with pytest.raises(FeintError, match="the control b"):
        control_answers({"b": LinearOn(digits.domain, 3).eval()}, [mark])
