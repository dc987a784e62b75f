"""Remote predictors as victims: each input is sent once, and a server that is gone is not asked again."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from feint import victims
from feint.errors import DamagedFile, OverBudget, Unreachable
from feint.oracle import CountingOracle
from feint.service import Service
from feint.signature import Pixels


def test_answers_of_a_remote_model_are_cached(tmp_path, victim):
    oracle = Service(victim).oracle(client="a", budget=30)
    options = {"name": "server, toy, 1", "domain": Pixels((1, 8, 8)), "classes": 10, "folder": tmp_path}
    model, x = victims.FromAnswers(oracle.try_ask, **options), torch.rand(20, 1, 8, 8)
    assert torch.allclose(victims.predict(model, x), victims.predict(victim, x), atol=1e-6)
    victims.predict(model, torch.cat([x.flip(0), x[:3]]))
    assert model.asked == 20
    assert oracle.asked == 20
    again = victims.FromAnswers(oracle.try_ask, **options)
    assert torch.equal(victims.predict(again, x), victims.predict(model, x))
    assert oracle.asked == 20
    assert again.asked == 20
    assert victims.fingerprint(again) == victims.fingerprint(model)
    assert victims.fingerprint(victims.FromAnswers(oracle.try_ask, **{**options, "name": "2"})) != victims.fingerprint(
        model
    )
    more = torch.rand(20, 1, 8, 8)
    with pytest.raises(OverBudget):
        again(more)
    assert again.asked == 30
    again(more[:10])
    (tmp_path / "answers.sqlite").write_bytes(b"noise")
    with pytest.raises(DamagedFile, match="move it away: they are paid for"):
        victims.FromAnswers(oracle.try_ask, **options)


def test_a_server_remembers_the_last_answers_alone(tmp_path):
    asked = []

    def ask(x):
        asked.extend(x[:, 0, 0, 0].tolist())
        return torch.full((len(x), 2), 0.5), None

    model = victims.FromAnswers(ask, name="s", domain=Pixels((1, 1, 1)), classes=2, folder=tmp_path)
    x = torch.linspace(0, 1, 6).reshape(6, 1, 1, 1)
    model(x[:1])
    model.remember(2)
    assert len(model(x)) == 6  # one batch may have more
    model(x[4:])
    model(x[5:])
    assert model.asked == 2
    assert len(asked) == 6
    model(x[:1])
    assert len(asked) == 7
    again = victims.FromAnswers(ask, name="s", domain=Pixels((1, 1, 1)), classes=2, folder=tmp_path)
    assert again.asked == 1  # what was paid for before


def test_a_server_that_went_away_is_not_waited_for_again():
    calls = []

    def gone(x):
        calls.append(len(x))
        raise Unreachable("a server", "a server that answers", "try again")

    model = victims.FromAnswers(gone, name="s", domain=Pixels((1, 2, 2)), classes=3)
    for _ in range(3):
        with pytest.raises(Unreachable):
            model(torch.rand(2, 1, 2, 2))
    assert calls == [2]


def test_answers_before_an_outage_are_kept_by_request_of_the_oracle(victim, tmp_path):
    service, sent = Service(victim), []

    def send(query):
        if sent:
            raise Unreachable("a server", "a server that answers", "try again")
        sent.append(len(query))
        return service(query)

    oracle = CountingOracle(send, budget=900)
    model = victims.FromAnswers(oracle.try_ask, name="s", domain=Pixels((1, 8, 8)), classes=10, folder=tmp_path)
    with pytest.raises(Unreachable):
        model(torch.rand(300, 1, 8, 8))
    assert sent == [256]
    assert model.asked == 256


def test_a_server_that_came_back_is_asked_again(monkeypatch):
    monkeypatch.setattr("feint.victims.remote.PAUSE", 0.0)
    failures = [Unreachable("a server", "a server that answers", "try again")]

    def back(x):
        if failures:
            raise failures.pop()
        return torch.full((len(x), 3), 1 / 3), None

    model, x = victims.FromAnswers(back, name="s", domain=Pixels((1, 2, 2)), classes=3), torch.rand(2, 1, 2, 2)
    with pytest.raises(Unreachable):
        model(x)
    assert model(x).shape == (2, 3)


def test_equal_inputs_of_several_threads_share_a_call():
    asked = []

    def ask(x):
        asked.extend(x[:, 0, 0, 0].tolist())
        time.sleep(0.05)
        return torch.full((len(x), 2), 0.5), None

    model = victims.FromAnswers(ask, name="s", domain=Pixels((1, 1, 1)), classes=2)
    x = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    with ThreadPoolExecutor(4) as threads:
        answers = [*threads.map(model, [x, x.flip(0), x[:1], x])]
    assert [len(answer) for answer in answers] == [2, 2, 1, 2]
    assert asked == [0.0, 1.0]
