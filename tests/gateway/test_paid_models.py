"""Gateways in front of models whose calls cost something: a ceiling, a price, and silence about the inside."""

import datetime
import json
import urllib.error
import urllib.request

import pytest
import torch
from tests.support import json_api
from tests.support.gateways import ANYBODY
from tests.support.json_api import CLASSES, ROWS, Api, serving, status

from feint import victims
from feint.errors import BadInput, BadRecipe, CallLimit
from feint.gateway.backends import torch_backend
from feint.gateway.server.run import running
from feint.gateway.settings import Settings, TorchSettings
from feint.service import Service
from feint.signature import Columns
from feint.victims.meter import DailyCalls, Meter

DOMAIN = Columns.describe(ROWS)


@pytest.fixture
def api(tmp_path, monkeypatch):
    """A paid API, described by `victim.toml` and `model.toml` in the test's directory."""
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    paid = Api(json_api.label_and_score)
    with serving(paid) as url:
        (tmp_path / "victim.toml").write_text(
            f'url = "{url}"\nclasses = {json.dumps(CLASSES)}\ntemplate = \'{{"features": "$row"}}\'\nretries = 0\n'
            'price_per_1000 = 2.0\ncurrency = "EUR"\n'
        )
        raw = victims.load_raw(tmp_path / "victim.toml")
        victims.ModelFile("victim.toml", raw.stated_adapter(DOMAIN), None, ()).write(tmp_path / "model.toml")
        yield paid


def settings(folder, **table):
    return TorchSettings(torch=str(folder / "model.toml"), **table)


def ask(server, *ages):
    """Return the status of a request for rows of these ages, and its JSON."""
    inputs = [
        {"name": "age", "datatype": "FP64", "shape": [len(ages), 1], "data": [*ages]},
        {"name": "housing", "datatype": "BYTES", "shape": [len(ages), 1], "data": ["own"] * len(ages)},
    ]
    request = urllib.request.Request(
        f"{server.url}/v2/models/shop/infer", json.dumps({"inputs": inputs}).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_paid_model_without_a_ceiling_is_not_served(api, tmp_path):
    with pytest.raises(BadInput, match=r"costs 2\.00 EUR for 1,000 calls; expected a ceiling .*max_calls_per_day = N"):
        torch_backend.load(settings(tmp_path), "shop")
    assert api.bodies == []


def test_price_and_ceiling_are_logged_before_the_first_call(api, tmp_path, caplog):
    calls = []
    caplog.handler.addFilter(lambda record: calls.append(len(api.bodies)) or True)
    loaded = torch_backend.load(settings(tmp_path, max_calls_per_day=500), "shop")
    loaded.close()
    note = "each new input is a call: at most 500 calls a day, 1.00 EUR"
    assert note in loaded.notes
    assert caplog.messages == [f"{tmp_path}/model.toml: {note}"]
    assert (calls, len(api.bodies)) == ([0], 1)


def test_a_service_of_python_has_the_ceiling_of_its_meter(api, tmp_path):
    model = victims.load_any(tmp_path / "model.toml")
    with pytest.raises(BadInput, match="expected a ceiling on the calls"):
        torch_backend.of_service(Service(model), "shop")
    model.meter.most = 7
    loaded = torch_backend.of_service(Service(model), "shop")
    loaded.close()
    assert "each new input is a call: at most 7 calls in all, 0.01 EUR" in loaded.notes


def test_the_ceiling_holds_over_restarts_and_repeats_are_answered_above_it(api, tmp_path):
    served = Settings({"shop": settings(tmp_path, max_calls_per_day=3)}, **ANYBODY)
    with running(served) as server:
        assert ask(server, 20, 30)[0] == 200
        code, answer = ask(server, 40)
        assert code == 502
        assert answer["error"] == "the model cannot be reached, and nothing was answered; try again later"
        assert ask(server, 30, 20)[0] == 200
    with running(served) as server:  # its own trial is known
        assert ask(server, 50)[0] == 502
    assert len(api.bodies) == 3


def test_answers_to_clients_are_not_stored_and_those_of_the_trial_are(api, tmp_path):
    with running(Settings({"shop": settings(tmp_path, max_calls_per_day=9)}, **ANYBODY)) as server:
        assert ask(server, 20, 30)[0] == 200
    assert victims.load_any(tmp_path / "model.toml").asked == 1


def test_clients_read_nothing_of_an_api_that_does_not_take_a_request(api, tmp_path):
    with running(Settings({"shop": settings(tmp_path, max_calls_per_day=9)}, **ANYBODY)) as server:
        for failure, code in ((status(422, {"detail": "no age"}), 500), (json_api.page(), 500), (status(401), 502)):
            api.failures.append(failure)
            replied, answer = ask(server, 20)
            assert replied == code
            assert "nothing was answered" in answer["error"]
            assert "http" not in answer["error"]
        assert ask(server, 20)[0] == 200


def test_processes_share_the_count_of_a_day(tmp_path):
    first, second = (Meter(2.0, "EUR", daily=DailyCalls(tmp_path / "calls.sqlite", 5)) for _ in range(2))
    first.charge(3)
    second.charge(2)
    with pytest.raises(CallLimit, match=r"more calls today than 5 \(0\.01 EUR\).*wait until tomorrow"):
        first.charge(1)
    assert (first.calls, second.calls) == (3, 2)


def test_a_day_in_utc_has_a_count_of_its_own(tmp_path, monkeypatch):
    daily, days = DailyCalls(tmp_path / "calls.sqlite", 2), [1, 1, 2]

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            assert tz is datetime.UTC
            return cls(2026, 1, days.pop(0), tzinfo=tz)

    monkeypatch.setattr("feint.victims.meter.datetime.datetime", Clock)
    assert [daily.add(2), daily.add(1), daily.add(1)] == [True, False, True]


@pytest.mark.parametrize("most", [0, -1])
def test_a_ceiling_is_at_least_one_call(most):
    with pytest.raises(BadRecipe, match="expected 1 or more"):
        TorchSettings(torch="victim", max_calls_per_day=most)


def test_a_model_here_has_no_calls_to_limit(victim, tmp_path):
    victims.save(tmp_path / "victim", victim)
    with pytest.raises(BadInput, match=r"max_calls_per_day for .*expected a model that is called elsewhere"):
        torch_backend.load(TorchSettings(torch=str(tmp_path / "victim"), max_calls_per_day=5), "toy")


def test_a_recorded_service_forgets_none_of_its_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_backend, "REMEMBERED", 2)
    rows = "\n".join(f"{age},{age / 100:.2f},{1 - age / 100:.2f}" for age in range(20, 30))
    (tmp_path / "log.csv").write_text(f"age,p_good,p_bad\n{rows}\n")
    path = tmp_path / "victim.toml"
    path.write_text('answers = "log.csv"\nclasses = ["good", "bad"]\nscores = ["p_good", "p_bad"]\n')
    model = victims.load_any(path)
    monkeypatch.setattr(type(model.domain), "sample", lambda domain, count, seed: domain.from_table({"age": [25.0]}))
    loaded = torch_backend.load(TorchSettings(torch=str(path)), "shop")
    loaded.close()
    loaded.opening()
    loaded.pipeline.model(torch.from_numpy(model.domain.from_table({"age": [25.0]})))
    assert loaded.pipeline.model.asked == 10
    assert not any("call" in note for note in loaded.notes)
