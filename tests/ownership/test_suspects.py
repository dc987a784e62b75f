"""Suspects that are known: a control, or the marked model itself; and several suspects of one mark."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.open_inference import served
from tests.support.suspects import repeating

from feint import victims
from feint.models.networks import Network
from feint.ownership import Mark, claim_accounts, marked_by_account
from feint.service import Service
from feint.signature import Pixels, pack

DOMAIN = Pixels((1, 4, 4))
NETWORK = Network("linear", DOMAIN, 10)
CLAIM = "--mark marked --controls controls --most-false 0.5"


@pytest.fixture
def marked(tmp_path, monkeypatch, run_cli):
    """A mark of a model, and four models of other weights as controls, in the current directory."""
    monkeypatch.chdir(tmp_path)
    model = NETWORK.build(0)
    victims.save("victim", model)
    for seed in range(1, 5):
        victims.save(f"controls/{seed}", NETWORK.build(seed))
    x = torch.rand(200, *DOMAIN.shape, generator=torch.Generator().manual_seed(0))
    mark = Mark.of("triggers", DOMAIN, 10, x, model(x).argmax(-1))
    mark.save(Path("marked/triggers"), model=victims.fingerprint(model))
    return run_cli


def test_a_suspect_that_is_a_control_is_asked_nothing(marked):
    code, out, err = marked(f"claim controls/2 {CLAIM} --out claimed")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "got controls/2, which is the control 2 of controls; expected a suspect that is none of them" in err
    assert not Path("claimed").exists()


def test_a_suspect_that_answers_as_a_control_does_is_named(marked):
    with served(Service(victims.load("controls/2")), shape=DOMAIN.shape, classes=10) as server:
        code, out, err = marked(f"claim {server.url} --model toy {CLAIM} --json")
        table = json.loads(out)
        assert (code, table["controls_alike"], "is a control" in table["reasons"]) == (1, ["2"], True), err
        code, out, _ = marked(f"claim {server.url} --model toy {CLAIM}")
        assert "To each of the 200 questions about the mark the suspect gives the label of the control 2" in out


def test_the_marked_model_itself_is_said(marked):
    code, out, err = marked(f"claim victim {CLAIM} --json")
    table = json.loads(out)
    assert (code, table["is_model"], table["controls_alike"]) == (1, True, []), err
    assert "the weights of the marked model" in marked(f"claim victim {CLAIM}")[1]
    victims.save("other", NETWORK.build(9))
    assert json.loads(marked(f"claim other {CLAIM} --json")[1])["is_model"] is False


def test_of_several_suspects_each_needs_more_evidence(marked):
    few, many = (
        json.loads(marked(f"claim victim {CLAIM} --suspects {n}")[1]) for n in ("1 --json", f"{10**10} --json")
    )
    assert (few["policy"]["alpha"], many["policy"]["alpha"]) == (1e-3, pytest.approx(1e-13))
    assert few["queries"] < many["queries"]
    code, _, err = marked(f"claim victim {CLAIM} --suspects 0")
    assert (code, len(err.splitlines())) == (2, 1)


def test_marked_answers_name_a_control_too():
    random = np.random.default_rng(0)
    x = random.random((60, 16)).round(1)
    stored = pack(DOMAIN.encode(x.reshape(60, *DOMAIN.shape)))
    content = np.concatenate([stored, random.integers(0, 10, (60, 1))], 1)
    mark = marked_by_account({"a": content[:30], "b": content[30:]}, DOMAIN, 10)
    controls = {name: random.integers(0, 10, len(mark)) for name in ("first", "second")}
    result = claim_accounts(repeating([mark], [controls["second"]]), mark, controls)
    assert (list(result.alike), "is a control" in result.reasons) == (["second"], True)
