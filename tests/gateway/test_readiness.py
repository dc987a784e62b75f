"""Ready means ready: rules and ledger are tried before a gateway serves, and each model's readiness is its own."""

import asyncio
import contextlib

import httpx2
import pytest
from tests.support.gateways import ANYBODY, Straight, ask, gateway
from tests.support.graph_files import whole
from tests.support.redis_servers import redis_server
from tests.support.upstreams import upstream
from tests.support.waiting import eventually

from feint.errors import BadInput, StoreLost
from feint.gateway.auth.keyfile import Keys
from feint.gateway.metadata import repository_index
from feint.gateway.server import app_state
from feint.gateway.server.run import running
from feint.gateway.settings import KeySettings, LedgerSettings, OnnxSettings, Settings, UpstreamSettings


@pytest.fixture
def toy(tmp_path):
    return whole(tmp_path / "toy.onnx")


def settings_file(folder, rest):
    (folder / "gateway.toml").write_text(f"[server]\nrest_port = 0\n[keys]\nanonymous = true\n{rest}")
    return folder / "gateway.toml"


def test_a_rule_that_was_never_fitted_is_found_at_the_start(toy):
    settings = Settings({"toy": OnnxSettings(path=toy, access=("ProofOfWork(least=0.001)",))}, **ANYBODY)
    with pytest.raises(BadInput, match=r"toy: .*ProofOfWork.*fails"), running(settings):
        pass


def test_check_finds_a_rule_that_was_never_fitted(toy, tmp_path, run_cli):
    file = settings_file(tmp_path, "[models.toy]\npath = 'toy.onnx'\naccess = ['ProofOfWork(least=0.001)']\n")
    code, _, error = run_cli(f"serve {file} --check")
    assert code == 2
    assert "ProofOfWork" in error


def test_a_rule_that_refuses_is_no_failure(toy):
    with running(Settings({"toy": OnnxSettings(path=toy, access=("Budget(0)",))}, **ANYBODY)) as server:
        assert httpx2.get(f"{server.url}/v2/health/ready").status_code == 200


@pytest.mark.parametrize("url", ["redis://:wrong@127.0.0.1:1/0", "redis://127.0.0.1:1/0"])
def test_a_ledger_that_is_away_is_found_at_the_start(toy, url):
    settings = Settings({"toy": OnnxSettings(path=toy)}, keys=KeySettings(anonymous=True), ledger=LedgerSettings(url))
    with pytest.raises(StoreLost, match=r"redis://127\.0\.0\.1:1/0") as caught, running(settings):
        pass
    assert "wrong" not in str(caught.value)


@pytest.mark.redis
def test_a_ledger_of_another_format_is_found_at_the_start(toy, tmp_path):
    import redis

    with redis_server(tmp_path) as server:
        redis.Redis.from_url(server.url).set("{feint:toy}:format", "99")
        ledger = LedgerSettings(server.url)
        settings = Settings({"toy": OnnxSettings(path=toy)}, keys=KeySettings(anonymous=True), ledger=ledger)
        with pytest.raises(StoreLost, match="format"), running(settings):
            pass


@pytest.mark.redis
@pytest.mark.parametrize("readiness", [True, False])
def test_a_ledger_that_is_lost_later_shows_in_ready_by_setting(toy, tmp_path, monkeypatch, readiness):
    monkeypatch.setattr(app_state, "EVERY", 0.05)
    with redis_server(tmp_path) as server:
        ledger = LedgerSettings(server.url, readiness=readiness)
        settings = Settings({"toy": OnnxSettings(path=toy)}, keys=KeySettings(anonymous=True), ledger=ledger)
        with running(settings) as serving:
            ready = f"{serving.url}/v2/health/ready"
            assert httpx2.get(ready).status_code == 200
            server.kill()
            with httpx2.Client(base_url=serving.url) as client:
                assert ask(client).status_code == 503
            if readiness:
                eventually(lambda: httpx2.get(ready).status_code == 503)
                server.start()
            eventually(lambda: httpx2.get(ready).status_code == 200)


def test_each_ledger_is_asked_where_another_is_lost(toy, monkeypatch):
    """Or the connections of the others stay broken after a failover, and the reload that takes it as it is fails."""
    asked = set()

    def lost(name):
        async def check(*_):
            asked.add(name)
            raise StoreLost("a ledger that is away", "one", "wait")

        return check

    async def check_all(state):
        with pytest.raises(StoreLost, match="away"):
            await state.check_ledger()

    models = {name: OnnxSettings(path=toy) for name in ("one", "two")}
    with running(Settings(models, **ANYBODY)) as serving:
        monkeypatch.setattr(app_state, "check_writable", lost("trial"))
        for name, endpoint in serving.gateway.endpoints.items():
            monkeypatch.setattr(endpoint.session, "check", lost(name))
        asyncio.run(check_all(serving.opened))
    assert asked == {"one", "two", "trial"}


def test_a_file_of_keys_that_is_lost_shows_in_ready(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(app_state, "EVERY", 0.05)
    file = tmp_path / "keys.db"
    Keys(file, new=True).add("ann")
    settings = Settings({"toy": OnnxSettings(path=toy)}, keys=KeySettings(file), ledger=LedgerSettings("memory:"))
    with running(settings) as serving, httpx2.Client(base_url=serving.url) as client:
        assert client.get("/v2/health/ready").status_code == 200
        away = file.rename(tmp_path / "away.db")
        eventually(lambda: client.get("/v2/models/toy/ready").status_code == 503)
        away.rename(file)
        eventually(lambda: client.get("/v2/health/ready").status_code == 200)


@pytest.mark.parametrize("part", ["ledger", "upstream"])
def test_a_watch_goes_on_after_an_answer_that_nobody_foresaw(toy, monkeypatch, part):
    monkeypatch.setattr(app_state, "EVERY", 0.05)
    with upstream() as other:
        model = UpstreamSettings(upstream=other.url, output="p", upstream_model="toy")
        with running(Settings({"toy": model}, **ANYBODY)) as serving, httpx2.Client(base_url=serving.url) as client:
            watched = serving.gateway.endpoints["toy"].session if part == "ledger" else serving.opened.models["toy"]
            method, owner = ("check", watched) if part == "ledger" else ("ready", watched.upstream)
            original = getattr(owner, method)

            async def odd():
                raise ValueError("not of this protocol")

            setattr(owner, method, odd)
            eventually(lambda: client.get("/v2/health/ready").status_code == 503)
            setattr(owner, method, original)
            eventually(lambda: client.get("/v2/health/ready").status_code == 200)


def test_the_trial_leaves_no_client_in_a_models_ledger(toy, tmp_path):
    ledger = LedgerSettings(f"sqlite:{tmp_path}/ledger.db")
    with running(Settings({"toy": OnnxSettings(path=toy)}, keys=KeySettings(anonymous=True), ledger=ledger)) as server:
        store = server.gateway.endpoints["toy"].session.store
        assert asyncio.run(store.clients(10)) == []


def test_one_upstream_away_takes_no_other_model_with_it(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(app_state, "EVERY", 0.05)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(upstream())
        away = stack.enter_context(contextlib.ExitStack())
        second = away.enter_context(upstream())
        models = {
            "toy": UpstreamSettings(upstream=first.url, output="p", upstream_model="toy"),
            "other": UpstreamSettings(upstream=second.url, output="p", upstream_model="toy"),
        }
        server = stack.enter_context(running(Settings(models, **ANYBODY)))
        client = stack.enter_context(httpx2.Client(base_url=server.url))
        away.close()
        eventually(lambda: client.get("/v2/models/other/ready").status_code == 503)
        assert client.get("/v2/models/toy/ready").json() == {"name": "toy", "ready": True}
        assert client.get("/v2/health/ready").status_code == 503
        states = {model["name"]: model["state"] for model in client.post("/v2/repository/index").json()}
        assert states == {"toy": "READY", "other": "UNAVAILABLE"}
        tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [0.5] * 4}
        assert client.post("/v2/models/toy/infer", json={"inputs": [tensor]}).status_code == 200


def test_no_model_of_a_gateway_that_stops_is_ready():
    stopping = gateway(Straight(), names=("a", "b"))
    stopping.stopping = True
    assert [model.state for model in repository_index(stopping)] == ["UNAVAILABLE"] * 2
