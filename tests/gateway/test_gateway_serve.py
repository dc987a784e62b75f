"""A running gateway: the library's answers over the wire, new settings without a lost request, and a quiet end."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import numpy as np
import pytest
import torch
from tests.support.gateways import ANYBODY, SHAPE, X, answer_of, ask
from tests.support.graph_files import bare, defended, undefended, whole
from tests.support.problems import Linear
from tests.support.variance import assert_close
from tests.support.waiting import PATIENCE, eventually

import feint
from feint.defense import Defense, Ladder
from feint.defenses.access import Budget, Refuse
from feint.defenses.outputs import APGP, LabelOnly, ReverseSigmoid
from feint.errors import BadInput, NotFitted, OverBudget
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends.torch_backend import of_service
from feint.gateway.server.bootstrap import load
from feint.gateway.server.run import running
from feint.gateway.server.service import load_service
from feint.gateway.settings import LedgerSettings, OnnxSettings, ServerSettings, Settings, TorchSettings
from feint.query import Query
from feint.service import Service


@pytest.fixture
def toy(tmp_path):
    return whole(tmp_path / "toy.onnx")


def test_a_graph_answers_as_it_does_alone(toy):
    settings = Settings({"toy": OnnxSettings(path=toy)}, **ANYBODY)
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client:
        assert client.get("/v2/health/ready").status_code == 200
        assert np.allclose(answer_of(ask(client)), defended(undefended(X)), atol=1e-6)
        assert ask(client, X[:0]).status_code == 200


@pytest.mark.parametrize("store", ["memory:", "sqlite:ledger.db"])
def test_requests_leave_nothing_for_the_garbage_collector(tmp_path, toy, store):
    """Looking through what 700 requests had left took 7 ms, in which nobody was answered."""
    models = {"toy": OnnxSettings(path=toy, access=("Budget(40)",))}
    settings = Settings(models, **ANYBODY | {"ledger": LedgerSettings(store.replace(":l", f":{tmp_path}/l"))})
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client:
        assert ask(client).status_code == 200
        with garbage() as left:
            answers = [ask(client, x).status_code for x in (X, X[:0], X[:, :, :1], X[:3], *[X] * 7)]
    assert {200, 400, 429} == set(answers)
    assert [it for it in left if type(it).__module__.startswith(("feint", "uvicorn"))] == []


@contextmanager
def garbage():
    """The objects that only the garbage collector would free, as they are when the block ends."""
    left = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield left
        gc.collect()
        left += gc.garbage
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()


def test_two_models_have_a_ledger_each(tmp_path, toy):
    both = {"a": OnnxSettings(path=toy, access=("Budget(6)",)), "b": OnnxSettings(path=toy, access=("Budget(6)",))}
    with running(Settings(both, **ANYBODY)) as gateway, httpx2.Client(base_url=gateway.url) as client:
        assert [ask(client, name=it).status_code for it in "abab"] == [200, 200, 429, 429]


def test_a_plain_defenses_rules_come_before_the_model(toy):
    class Never:
        pass

    from feint.gateway.backends.onnx_model import OnnxModel
    from feint.gateway.backends.onnx_pipeline import OnnxPipeline
    from feint.ledger import Account

    line = OnnxPipeline(OnnxModel(toy), Never(), access=[Budget(2)])
    with pytest.raises(OverBudget):
        line.admit(ArrayQuery(X, "ann"), Account("ann"))


def test_many_clients_at_once_get_their_own_rows(toy):
    settings = Settings({"toy": OnnxSettings(path=toy)}, **ANYBODY)
    inputs = [np.random.default_rng(n).random((n % 4, *SHAPE), np.float32) for n in range(80)]
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda x: answer_of(ask(client, x)), inputs))
    assert all(np.allclose(q, defended(undefended(x)), atol=1e-6) for q, x in zip(answers, inputs, strict=True))


LADDER = Ladder(
    detectors=[], rungs=[Defense(outputs=[ReverseSigmoid()]), Defense(access=[Refuse()])], at=[0.0, 1.0]
)  # fmt: skip
DEFENSES = {
    "none": Defense(),
    "outputs": Defense(access=[Budget(100)], outputs=[ReverseSigmoid()]),
    "labels": Defense(outputs=[LabelOnly()]),
    "ladder": LADDER,
}


def live(service):
    """A gateway over a service of this process."""

    async def make(ledgers):
        return load_service(
            service, Settings({"toy": TorchSettings(torch="")}, **ANYBODY), domain=SHAPE, ledgers=ledgers
        )

    return running(make=make)


@pytest.mark.parametrize("name", DEFENSES)
def test_a_service_answers_over_the_wire_as_it_does_here(name):
    service = Service(Linear(), DEFENSES[name])
    here = service(Query(torch.from_numpy(X))).p.numpy()
    with live(service) as gateway, httpx2.Client(base_url=gateway.url) as client:
        assert_close(answer_of(ask(client)).astype(np.float32), here)
        assert gateway.gateway.endpoints["toy"].session.begin("anonymous").queries == 5
    assert service.ledger.queries == 5  # that of the gateway is its own


def test_an_oracle_asks_it():
    with live(Service(Linear(), Defense(access=[Budget(7)]))) as gateway:
        oracle = feint.connect(gateway.url, model="toy", budget=20)
        p, refusal = oracle.try_ask(torch.from_numpy(X).repeat(3, 1, 1, 1))
        assert len(p) == 7
        assert type(refusal) is OverBudget


@pytest.mark.parametrize("host", ["::1", "::"])
def test_an_address_of_ipv6_is_served_over_rest_and_grpc(toy, host):
    settings = Settings({"toy": OnnxSettings(path=toy)}, ServerSettings(host), **ANYBODY)
    with running(settings) as gateway:
        rest, rpc = f"[::1]:{gateway.rest_port}", f"[::1]:{gateway.grpc_port}"
        for url in (f"http://{rest}", f"grpc://{rpc}"):
            assert len(feint.connect(url, model="toy", budget=9).ask(torch.from_numpy(X))) == len(X)
        assert gateway.addresses == f"http://{rest}, gRPC on {rpc}".replace("::1", host)


def test_a_defense_that_has_learned_nothing_is_found_out_at_start_up():
    with pytest.raises(NotFitted):
        of_service(Service(Linear(), Defense(outputs=[APGP()])), "toy", domain=SHAPE)
    with pytest.raises(BadInput, match=r"set shape = \[C, H, W\]"):
        of_service(Service(Linear()), "toy")


def test_new_settings_without_a_lost_request(tmp_path, toy):
    """Requests go on while settings are swapped; each is answered by one of the two models, wholly."""
    other = bare(tmp_path / "bare.onnx")
    both = [Settings({"toy": OnnxSettings(path=path)}, **ANYBODY) for path in (other, toy)]
    expected = [undefended(X), defended(undefended(X))]
    seen, failed, ending = [0, 0], [], threading.Event()

    def keeps_asking():
        with httpx2.Client(base_url=gateway.url) as client:
            while not ending.is_set():
                response = ask(client)
                which = (
                    [np.allclose(answer_of(response), it, atol=1e-6) for it in expected]
                    if response.status_code == 200
                    else []
                )
                if sum(which) == 1:
                    seen[which.index(True)] += 1
                else:
                    failed.append(response.text)

    with running(both[0]) as gateway:
        threads = [threading.Thread(target=keeps_asking) for _ in range(3)]
        for thread in threads:
            thread.start()
        for n in range(1, 8):
            reload(gateway, both[n % 2])
            answered = seen[n % 2]
            eventually(lambda now=n % 2, answered=answered: failed or seen[now] > answered)
        ending.set()
        for thread in threads:
            thread.join()
    assert not failed


def reload(gateway, settings):
    """Have it read settings anew, as SIGHUP does."""
    before = gateway.opened
    asyncio.run_coroutine_threadsafe(gateway.reload(lambda ledgers: load(settings, ledgers=ledgers)), gateway.loop)
    eventually(lambda: gateway.opened is not before, pause=0.005)


def test_wrong_settings_change_nothing(tmp_path, toy, caplog):
    settings = Settings({"toy": OnnxSettings(path=toy, access=("Budget(12)",))}, **ANYBODY)
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client:
        assert ask(client).status_code == 200
        wrong = Settings({"toy": OnnxSettings(path=tmp_path / "none.onnx")}, **ANYBODY)
        asyncio.run_coroutine_threadsafe(gateway.reload(lambda ledgers: load(wrong)), gateway.loop).result(5)
        assert "the settings are not taken" in caplog.text
        assert "none.onnx" in caplog.text
        assert ask(client).status_code == 200
        reload(gateway, settings)  # the same again: the ledger is the same too
        assert ask(client).status_code == 429


def test_it_stops_when_the_requests_in_flight_are_done(tmp_path):
    computing, may_end = threading.Event(), threading.Event()

    class Slow(Linear):
        def forward(self, x):
            if len(x) == 5:
                computing.set()
                may_end.wait(PATIENCE)
            return super().forward(x)

    answers = []

    def asks(url):
        with httpx2.Client(base_url=url, timeout=PATIENCE) as client:
            answers.append(ask(client).status_code)

    with live(Service(Slow())) as gateway:
        thread = threading.Thread(target=asks, args=(gateway.url,))
        thread.start()
        assert computing.wait(PATIENCE)
        gateway.loop.call_soon_threadsafe(gateway.stop)
        eventually(lambda: not gateway.gateway.ready)
        may_end.set()
        thread.join()
    assert answers == [200]
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(gateway.url)
