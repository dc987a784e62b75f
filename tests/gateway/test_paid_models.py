"""Gateways in front of models whose calls cost something: a ceiling, a price, and silence about the inside."""

import asyncio
import datetime
import json
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx2
import numpy as np
import pytest
import torch
from tests.support import json_api
from tests.support.gateways import ANYBODY
from tests.support.json_api import CLASSES, ROWS, Api, serving, status
from tests.support.redis_servers import redis_server
from tests.support.upstreams import softmax_of, upstream
from tests.support.waiting import PATIENCE, eventually

from feint import victims
from feint.errors import BadInput, BadRecipe, CallLimit, StoreLost
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends import paid, torch_backend
from feint.gateway.backends.paid import RememberedSource
from feint.gateway.backends.registry import load_upstream
from feint.gateway.server.run import running
from feint.gateway.settings import LedgerSettings, Settings, TorchSettings, UpstreamSettings
from feint.gateway.stores.redis_calls import RedisCalls
from feint.paid.meter import DailyCalls, Meter
from feint.service import Service
from feint.signature import Columns

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


class Clock:
    """A clock that moves on by what is slept."""

    def __init__(self, now):
        self.now, self.time = now, time.time

    def monotonic(self):
        return self.now[0]

    def sleep(self, seconds):
        self.now[0] += max(seconds, 2.0)


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


def test_a_model_that_settings_of_another_folder_name_is_shown_without_dots(api, tmp_path):
    (tmp_path / "deploy").mkdir()
    loaded = torch_backend.load(settings(tmp_path / "deploy" / "..", max_calls_per_day=500), "shop")
    loaded.close()
    assert loaded.notes[0].startswith(f"{tmp_path}/model.toml, by torch: ")


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


def behind(server, **table):
    """Settings of a gateway before an upstream of the protocol."""
    at = UpstreamSettings(upstream=server.url, output="p", **table)
    return Settings({"toy": at}, **ANYBODY)


PRICED = {"price_per_1000": 2.0, "currency": "EUR"}


def pixels(*values):
    """Inputs of the upstream, each of one value."""
    return np.repeat(np.array(values, np.float32), 4).reshape(-1, 1, 2, 2)


def infer(gateway, x):
    """Return the status of a request to a gateway before an upstream, and the probabilities."""
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    reply = httpx2.post(f"{gateway.url}/v2/models/toy/infer", json={"inputs": [tensor]})
    return reply.status_code, np.array(reply.json()["outputs"][0]["data"]) if reply.status_code == 200 else None


@pytest.fixture
def upstream_server(tmp_path, monkeypatch):
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    with upstream() as server:
        yield server


def test_a_paid_upstream_without_a_ceiling_is_not_served(upstream_server):
    without = r"costs 2\.00 EUR for 1,000 calls; expected a ceiling .*max_calls_per_day = N"
    with pytest.raises(BadInput, match=without), running(behind(upstream_server, **PRICED)):
        pass
    assert upstream_server.asked == 0


def test_price_and_ceiling_of_an_upstream_are_logged_before_its_trial(upstream_server, caplog):
    asked = []
    caplog.handler.addFilter(lambda record: asked.append(upstream_server.asked) or True)
    with running(behind(upstream_server, **PRICED, max_calls_per_day=500)):
        assert upstream_server.asked == 1
    assert asked[0] == 0
    assert "each new input is a call: at most 500 calls a day, 1.00 EUR" in caplog.messages[0]


@pytest.mark.parametrize("price", [PRICED, {}], ids=["price", "no price"])
def test_calls_of_an_upstream_end_at_the_ceiling_and_repeats_do_not(upstream_server, price):
    served = behind(upstream_server, **price, max_calls_per_day=4)
    with running(served) as gateway:
        code, first = infer(gateway, pixels(0.25, 0.5, 0.25))
        assert code == 200
        assert np.allclose(first, softmax_of(pixels(0.25, 0.5, 0.25)).ravel(), atol=1e-6)
        assert infer(gateway, pixels(0.75, 1.0))[0] == 502
        assert upstream_server.asked == 3  # with the trial
        assert infer(gateway, pixels(0.5, 0.75))[0] == 200
        code, again = infer(gateway, pixels(0.25, 0.5, 0.25))
        assert (code, again.tolist()) == (200, first.tolist())
    with running(served) as gateway:
        assert infer(gateway, pixels(0.25))[0] == 502
    assert upstream_server.asked == 4


def test_an_upstream_without_price_and_ceiling_is_asked_each_time(upstream_server):
    with running(behind(upstream_server)) as gateway:
        assert [infer(gateway, pixels(0.5))[0] for _ in range(2)] == [200, 200]
    assert upstream_server.asked == 3


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_is_a_finite_number(price):
    with pytest.raises(BadRecipe, match=r"price_per_1000 = .*expected a finite number"):
        UpstreamSettings(upstream="http://localhost", price_per_1000=price)


def test_an_answer_is_remembered_though_its_client_has_gone():
    asked, gone = [], asyncio.Event()

    async def source(x):
        asked.append(len(x))
        await gone.wait()
        return softmax_of(x)

    async def scene():
        remembered = RememberedSource(source)
        request = asyncio.create_task(remembered(pixels(0.5)))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        gone.set()
        await asyncio.sleep(0.01)
        return await remembered(pixels(0.5))

    np.testing.assert_allclose(asyncio.run(scene()), softmax_of(pixels(0.5)), rtol=1e-6)
    assert asked == [1]


def asked_at_once(failures, *requests):
    """Return the answers to requests that come at one moment, or their errors, and the inputs of each call."""
    calls = []

    async def source(x):
        calls.append(x[:, 0, 0, 0].tolist())
        await asyncio.sleep(0.01)
        if failures:
            raise failures.pop()
        return softmax_of(x)

    async def scene():
        remembered = RememberedSource(source)
        together = [remembered(pixels(*values)) for values in requests]
        return await asyncio.gather(*together, return_exceptions=True)

    return asyncio.run(scene()), calls


def test_equal_inputs_of_one_moment_share_a_call():
    requests = (0.25, 0.5), (0.5, 0.75, 0.5), (0.25,)
    answers, calls = asked_at_once([], *requests)
    assert calls == [[0.25, 0.5], [0.75]]
    for values, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer, softmax_of(pixels(*values)), rtol=1e-6)


def test_a_request_whose_shared_call_failed_asks_for_itself():
    failure = CallLimit("more calls", "fewer", "wait")
    answers, calls = asked_at_once([failure], (0.25, 0.5), (0.5,), (0.5, 0.75))
    assert answers[0] is failure
    np.testing.assert_allclose(answers[1], softmax_of(pixels(0.5)), rtol=1e-6)
    np.testing.assert_allclose(answers[2], softmax_of(pixels(0.5, 0.75)), rtol=1e-6)
    assert calls[:2] == [[0.25, 0.5], [0.75]]


def test_requests_whose_shared_call_failed_share_the_next_one():
    answers, calls = asked_at_once([CallLimit("more calls", "fewer", "wait")], (0.5,), (0.5,), (0.5,), (0.5,))
    assert isinstance(answers[0], CallLimit)
    assert calls == [[0.5], [0.5]]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, softmax_of(pixels(0.5)), rtol=1e-6)


def test_an_answer_under_way_is_forgotten_with_its_model():
    async def scene():
        asked, done = [], asyncio.Event()

        async def source(x):
            asked.append(len(x))
            await done.wait()
            return softmax_of(x)

        remembered = RememberedSource(source)
        first = asyncio.ensure_future(remembered(pixels(0.5)))
        await asyncio.sleep(0)
        remembered.forget()
        second = asyncio.ensure_future(remembered(pixels(0.5)))
        await asyncio.sleep(0)
        done.set()
        await asyncio.gather(first, second)
        await remembered(pixels(0.5))
        return asked

    assert asyncio.run(scene()) == [1, 1]


def test_the_last_answers_are_remembered_until_another_model_comes(monkeypatch):
    monkeypatch.setattr(paid, "REMEMBERED", 2)
    asked = []

    async def source(x):
        asked.extend(x[:, 0, 0, 0].tolist())
        return softmax_of(x)

    async def scene():
        remembered = RememberedSource(source)
        for values in ((0.25, 0.5, 0.75), (0.5, 0.75), (0.25,)):
            x = pixels(*values)
            np.testing.assert_allclose(await remembered(x), softmax_of(x), rtol=1e-6)
        remembered.forget()
        await remembered(pixels(0.25))

    asyncio.run(scene())
    assert asked == [0.25, 0.5, 0.75, 0.25, 0.25]


def test_answers_of_an_upstream_are_forgotten_when_it_comes_back(upstream_server):
    query = ArrayQuery(pixels(0.5), "client")

    async def scene():
        loaded = await load_upstream(behind(upstream_server, max_calls_per_day=9).models["toy"], "toy")
        before = await loaded.pipeline.compute(query)
        upstream_server.answer = lambda x: softmax_of(x)[:, ::-1]  # it was trained again
        kept = await loaded.pipeline.compute(query)
        await loaded.connect()
        after = await loaded.pipeline.compute(query)
        loaded.close()
        return [outputs.rungs[0] for outputs in (before, kept, after)]

    before, kept, after = asyncio.run(scene())
    np.testing.assert_array_equal(kept, before)
    np.testing.assert_allclose(after, before[:, ::-1], rtol=1e-6)


def test_processes_share_the_count_of_a_day(tmp_path):
    first, second = (Meter(2.0, "EUR", daily=DailyCalls(tmp_path / "calls.sqlite", 5)) for _ in range(2))
    first.charge(3)
    second.charge(2)
    with pytest.raises(CallLimit, match=r"more calls today than 5 \(0\.01 EUR\).*wait until tomorrow"):
        first.charge(1)
    assert (first.calls, second.calls) == (3, 2)


@pytest.mark.redis
def test_gateways_of_one_ledger_in_redis_share_the_ceiling(upstream_server, tmp_path, monkeypatch):
    with redis_server(tmp_path) as store:
        served = replace(behind(upstream_server, max_calls_per_day=4), ledger=LedgerSettings(store.url))
        with running(served) as one:
            monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "another machine"))
            with running(served) as other:
                assert [infer(one, pixels(0.25))[0], infer(other, pixels(0.5))[0]] == [200, 200]
                assert [infer(gateway, pixels(0.75))[0] for gateway in (one, other)] == [502, 502]
                assert [infer(one, pixels(0.25))[0], infer(other, pixels(0.5))[0]] == [200, 200]
        assert upstream_server.asked == 4  # with the two trials


@pytest.mark.redis
def test_calls_are_not_made_where_their_count_is_lost(tmp_path):
    from redis import Redis

    with redis_server(tmp_path) as store:
        one, other = (RedisCalls(store.url, "toy", 3) for _ in range(2))
        assert [one.add(2), other.add(2), other.add(1), one.add(1)] == [True, False, True, False]
        assert RedisCalls(store.url, "toy/2", 3).add(3)
        with Redis.from_url(store.url) as server:  # no step of the server's clock forgets what was paid
            assert [server.ttl(key) for key in server.keys("feint-calls:*")] == [-1, -1]
        store.kill()
        with pytest.raises(StoreLost, match="a count of paid calls that cannot be read"):
            one.add(1)


def test_a_day_in_utc_has_a_count_of_its_own(tmp_path, monkeypatch):
    daily, days = DailyCalls(tmp_path / "calls.sqlite", 2), [1, 1, 2]

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            assert tz is datetime.UTC
            return cls(2026, 1, days.pop(0), tzinfo=tz)

    monkeypatch.setattr("feint.paid.meter.datetime.datetime", Clock)
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


def test_an_api_that_asks_for_patience_keeps_nobody_waiting_for_minutes(api, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr("feint.client.json_transport.time.sleep", slept.append)
    table = settings(tmp_path, max_calls_per_day=100, access=("Budget(9)",))
    with running(Settings({"shop": table}, **ANYBODY)) as server:
        api.failures.append(status(429, **{"retry-after": "30"}))
        assert ask(server, 41)[0] == 502
        assert server.gateway.endpoints["shop"].session.begin("anonymous").total("budget") == 0
        api.failures.append(status(429, **{"retry-after": "4"}))
        assert ask(server, 42)[0] == 200
    assert max(slept) == 4


def test_who_waits_behind_a_request_that_the_api_limits_fails_with_it(api, tmp_path):
    """The API has one thread, which each of those who wait would hold as long as the first one."""
    asked, go, answer = threading.Event(), threading.Event(), api.respond

    async def failing(request):
        asked.set()
        await asyncio.to_thread(go.wait, PATIENCE)
        api.failures.append(status(429, **{"retry-after": "30"}))
        return await answer(request)

    with running(Settings({"shop": settings(tmp_path, max_calls_per_day=100)}, **ANYBODY)) as server:
        endpoint, calls = server.gateway.endpoints["shop"], len(api.bodies)
        api.route = failing
        with ThreadPoolExecutor(4) as clients:
            first = clients.submit(ask, server, 41)
            assert asked.wait(PATIENCE)
            others = [clients.submit(ask, server, age) for age in (42, 43, 44)]
            eventually(lambda: endpoint.active == 4)
            go.set()
            assert {future.result()[0] for future in (first, *others)} == {502}
        assert len(api.bodies) == calls + 1
        api.route = answer
        assert ask(server, 42)[0] == 200
        assert endpoint.session.begin("anonymous").queries == 1


def test_an_api_that_fails_holds_the_thread_for_seconds(api, tmp_path, monkeypatch):
    """Every repetition takes two seconds of a clock that the test moves on; of 20 that the file allows few are made."""
    now = [0.0]
    monkeypatch.setattr("feint.client.json_transport.time", Clock(now))
    (tmp_path / "victim.toml").write_text((tmp_path / "victim.toml").read_text().replace("retries = 0", "retries = 20"))
    with running(Settings({"shop": settings(tmp_path, max_calls_per_day=100)}, **ANYBODY)) as server:
        before, api.failures = len(api.bodies), [status(500) for _ in range(30)]
        assert ask(server, 41)[0] == 502
    assert len(api.bodies) - before < 6
    assert 5 < now[0] < 20
