"""Clients who hang up after a whole request: once the model is asked they are charged, and nothing is before."""

import asyncio
import json
import logging
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from contextlib import closing, nullcontext

import grpc
import httpx2
import numpy as np
import pytest
from tests.support.certificates import certificate
from tests.support.gateways import ANYBODY, SHAPE, Book, Straight, X, gateway
from tests.support.graph_files import whole
from tests.support.upstreams import killed, upstream
from tests.support.waiting import PATIENCE, eventually

from feint.gateway import accounts, request_context
from feint.gateway.array_query import ArrayQuery
from feint.gateway.changes import AccountName
from feint.gateway.request_context import ClientDisconnect
from feint.gateway.routes import HAS_GONE
from feint.gateway.server.ray import Replica
from feint.gateway.server.run import running
from feint.gateway.settings import LedgerSettings, OnnxSettings, ServerSettings, Settings, UpstreamSettings
from feint.openinference import proto


class Kept:
    """A model that takes until a test has it answer, or fail by `then`."""

    def __init__(self, then=lambda handler: None) -> None:
        self.asked, self.go, self.then = threading.Event(), threading.Event(), then

    def __call__(self, handler):
        self.asked.set()
        self.go.wait(PATIENCE)
        return self.then(handler)


def request_of(server) -> dict:
    name = server.gateway.endpoints["toy"].spec.inputs[0].name
    return {"inputs": [{"name": name, "datatype": "FP32", "shape": list(X.shape), "data": X.ravel().tolist()}]}


def contexts_of(endpoint) -> list:
    """The contexts of the requests to a model from now on."""
    contexts, admit = [], endpoint.pipeline.admit

    def admitting(query, account):
        contexts.append(request_context.current())
        admit(query, account)

    endpoint.pipeline.admit = admitting
    return contexts


def status(server) -> int:
    with httpx2.Client(base_url=server.url, verify=False) as client:
        return client.post("/v2/models/toy/infer", json=request_of(server)).status_code


def send(server, line: socket.socket) -> None:
    body = json.dumps(request_of(server)).encode()
    line.sendall(b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def plain(server, between):
    with socket.create_connection(("127.0.0.1", server.rest_port)) as line:
        send(server, line)
        between()


def over_tls(server, between):
    context = ssl._create_unverified_context()
    line = context.wrap_socket(socket.create_connection(("127.0.0.1", server.rest_port)))
    with closing(line):
        send(server, line)
        between()


def over_grpc(server, between):
    request = proto.ModelInferRequest(model_name="toy", raw_input_contents=[X.tobytes()])
    request.inputs.add(name="pixels", datatype="FP32", shape=X.shape)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(f"/{proto.SERVICE}/ModelInfer")
        under_way = call.future(request.SerializeToString())
        between()
        under_way.cancel()


def past_its_deadline(server, between):
    request = proto.ModelInferRequest(model_name="toy", raw_input_contents=[X.tobytes()])
    request.inputs.add(name="pixels", datatype="FP32", shape=X.shape)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        under_way = channel.unary_unary(f"/{proto.SERVICE}/ModelInfer").future(request.SerializeToString(), timeout=0.5)
        between()
        assert under_way.exception(PATIENCE).code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("way", [plain, over_tls, over_grpc, past_its_deadline])
def test_who_hangs_up_while_the_model_runs_is_charged(tmp_path, way):
    at = ServerSettings()
    if way is over_tls:
        certificate(tmp_path)
        at = ServerSettings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    with upstream() as model:
        table = UpstreamSettings(upstream=model.url, upstream_model="toy", output="p", access=("Budget(9)",))
        with running(Settings({"toy": table}, at, **ANYBODY)) as server:
            endpoint, records = server.gateway.endpoints["toy"], []
            contexts = contexts_of(endpoint)
            endpoint.observer = records.append
            model.fault = kept = Kept()
            way(server, lambda: kept.asked.wait(PATIENCE))
            eventually(lambda: contexts[0].has_gone())
            assert not records
            assert endpoint.active == 1
            kept.go.set()
            eventually(lambda: records)
            assert [(it.outcome, it.reason) for it in records] == [("cancelled", "ClientGone")]
            assert endpoint.session.begin("anonymous").total("budget") == 5
            assert status(server) == 429  # of 9 queries 5 and 5
            eventually(lambda: not endpoint.active)


def test_where_the_model_fails_who_hung_up_is_not_charged(tmp_path):
    with upstream() as model:
        table = UpstreamSettings(upstream=model.url, upstream_model="toy", output="p", access=("Budget(9)",))
        with running(Settings({"toy": table}, **ANYBODY)) as server:
            endpoint, records = server.gateway.endpoints["toy"], []
            endpoint.observer = records.append
            model.fault = kept = Kept(killed)
            over_grpc(server, lambda: kept.asked.wait(PATIENCE))
            kept.go.set()
            eventually(lambda: records)
            assert [it.outcome for it in records] == ["failed"]
            assert endpoint.session.begin("anonymous").total("budget") == 0


def test_a_gateway_that_stops_charges_first_who_hung_up(tmp_path):
    ledger = LedgerSettings(f"sqlite:{tmp_path / 'ledger.db'}")
    with upstream() as model:
        table = UpstreamSettings(upstream=model.url, upstream_model="toy", output="p")
        settings = Settings({"toy": table}, keys=ANYBODY["keys"], ledger=ledger)
        with running(settings) as server:
            model.fault = kept = Kept()
            over_grpc(server, lambda: kept.asked.wait(PATIENCE))
            threading.Timer(0.3, kept.go.set).start()
        account = asyncio.run(accounts.read(settings, "toy", AccountName("client", "anonymous")))
    assert account.totals["queries"] == len(X)


def test_what_ray_serve_cancels_goes_on_and_knows_that_its_client_has_gone(tmp_path):
    seen = []

    async def scene():
        go, done = asyncio.Event(), asyncio.Event()

        async def app(scope, receive, send):
            await go.wait()
            seen.append(scope["extensions"][HAS_GONE]())
            done.set()

        replica = Replica(tmp_path)
        replica._app = app
        asking = asyncio.ensure_future(replica({"type": "http"}, None, None))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        go.set()
        await asyncio.wait_for(done.wait(), PATIENCE)

    asyncio.run(scene())
    assert seen == [True]


def test_a_storm_of_hang_ups_is_no_error_and_charges_what_was_decided(tmp_path, caplog):
    """Some clients go before the model is asked, some while it is decided what they are answered, some afterwards."""
    decided, records = [], []
    table = OnnxSettings(path=whole(tmp_path / "toy.onnx"))
    with running(Settings({"toy": table}, **ANYBODY)) as server:
        endpoint = server.gateway.endpoints["toy"]
        endpoint.observer, answer = records.append, endpoint.pipeline.answer

        async def answering(query, computed, account, record, *, shadow):
            decided.append(record)
            await asyncio.sleep(0.005)
            return await answer(query, computed, account, record, shadow=shadow)

        endpoint.pipeline.answer = answering
        for i in range(60):
            with socket.create_connection(("127.0.0.1", server.rest_port)) as line:
                for _ in range(8):
                    send(server, line)
                time.sleep(i % 15 / 1000)
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it is reset
        eventually(lambda: not server._rest.server_state.connections and not endpoint.active)
        assert status(server) == 200
        ways = Counter((it.outcome, any(it is other for other in decided)) for it in records)
        assert set(ways) <= {("answered", True), ("cancelled", True), ("cancelled", False)}
        charged = ways["answered", True] + ways["cancelled", True]
        assert endpoint.session.begin("anonymous").queries == len(X) * charged
    assert not [it.getMessage() for it in caplog.records if it.levelno >= logging.ERROR]


def test_who_hangs_up_after_the_answer_stays_charged(tmp_path):
    table = OnnxSettings(path=whole(tmp_path / "toy.onnx"), access=("Budget(9)",))
    with running(Settings({"toy": table}, **ANYBODY)) as server:

        def answered():
            eventually(lambda: server.gateway.endpoints["toy"].session.begin("anonymous").total("budget") == 5)

        plain(server, answered)
        assert status(server) == 429


@pytest.mark.parametrize("goes", ["before", "meanwhile", "between"])
def test_a_request_whose_client_is_gone_is_decided_once_the_model_was_asked(goes):
    """The client goes before it is admitted, while the model runs, or while an attempt is repeated."""
    gone, asked, records = [], [], []

    class Conflicting(Book):
        conflicts = 2

        async def send(self, staged, *, complete=False):
            gone.append(goes == "between")
            self.conflicts -= 1
            return [self.conflicts < 0] * len(staged)

    def model(x):
        asked.append(len(x))
        gone.append(goes == "meanwhile")
        return np.full((len(x), 3), 1 / 3, np.float32)

    async def scene():
        context = request_context.begin("/", "", {})
        context.has_gone = lambda: goes == "before" or any(gone)
        endpoint = gateway(Straight(model), observer=records.append).endpoints["toy"]
        endpoint.session = Conflicting()
        with pytest.raises(ClientDisconnect) if goes == "before" else nullcontext():
            await endpoint.answer(ArrayQuery(np.zeros((1, *SHAPE), np.float32), "ann"))

    asyncio.run(scene())
    assert [(it.outcome, it.reason, it.conflicts) for it in records] == [
        ("cancelled", "ClientGone", 0 if goes == "before" else 2)
    ]
    assert len(asked) == (goes != "before")


@pytest.mark.parametrize("asked", [False, True])
def test_a_call_that_is_cancelled_in_the_turn_of_others_is_charged_once_the_model_is_asked(asked):
    begun, go = asyncio.Event(), asyncio.Event()

    class Together(Straight):
        def together(self, query):
            return True

        def compute_each(self, requests):
            return [self.model(query.x) for query, _ in requests]

        async def answer(self, asked, computed, account, record, *, shadow):
            if asked.client == "ann":
                begun.set()
                await go.wait()
            return computed

    async def scene():
        endpoint = gateway(Together()).endpoints["toy"]
        x = np.zeros((1, *SHAPE), np.float32)
        ann, bob = [asyncio.ensure_future(endpoint.answer(ArrayQuery(x, client))) for client in ("ann", "bob")]
        if asked:
            await asyncio.wait_for(begun.wait(), PATIENCE)
        else:
            await asyncio.sleep(0)  # both have begun, and neither is in a turn yet
        bob.cancel()
        await asyncio.sleep(0)
        go.set()
        await ann
        while endpoint.active:
            await asyncio.sleep(0.001)
        return [endpoint.session.begin(client, "").queries for client in ("ann", "bob")]

    assert asyncio.run(scene()) == [1, int(asked)]


class Waiting(Book):
    """A ledger with which each client conflicts twice; one client's n-th attempt waits until a test lets it go on."""

    def __init__(self, client, n):
        super().__init__()
        self.sent, self.go, self.attempts, self.charged = asyncio.Event(), asyncio.Event(), Counter(), []
        self.held = client, n

    async def send(self, staged, *, complete=False):
        names = [account.client for account in staged]
        self.attempts.update(names)
        if (self.held[0], self.attempts[self.held[0]]) == self.held and self.held[0] in names:
            self.sent.set()
            await self.go.wait()
        self.charged += [name for name in names if self.attempts[name] == 3]
        return [self.attempts[name] == 3 for name in names]


class TurnBased(Straight):
    """A pipeline that computes what comes together."""

    def together(self, query):
        return True

    def compute_each(self, requests):
        return [self.model(query.x) for query, _ in requests]


@pytest.mark.parametrize("clients", [["ann"], ["ann", "bob"]])
@pytest.mark.parametrize("pipeline", [Straight, TurnBased])
@pytest.mark.parametrize("attempt", [1, 2])
def test_whoever_goes_while_the_ledger_decides_is_charged_whatever_conflicts(clients, pipeline, attempt):
    """The last client goes, who is alone or in the turn of others, in an attempt that conflicts."""
    records = []

    async def ask(endpoint, client, gone):
        request_context.begin("/", "", {}).has_gone = gone.is_set
        return await endpoint.answer(ArrayQuery(np.zeros((1, *SHAPE), np.float32), client))

    async def scene():
        ledger, gone = Waiting(clients[-1], attempt), {client: asyncio.Event() for client in clients}
        endpoint = gateway(pipeline(), observer=records.append).endpoints["toy"]
        endpoint.session = ledger
        asking = [asyncio.ensure_future(ask(endpoint, client, gone[client])) for client in clients]
        await asyncio.wait_for(ledger.sent.wait(), PATIENCE)
        gone[clients[-1]].set()
        await asyncio.sleep(0.01)
        assert clients[-1] not in [it.client for it in records]
        ledger.go.set()
        await asyncio.wait_for(asyncio.wait(asking), PATIENCE)
        return sorted(ledger.charged)

    assert asyncio.run(scene()) == clients
    outcomes = {it.client: (it.outcome, it.reason, it.conflicts) for it in records}
    assert outcomes.pop(clients[-1]) == ("cancelled", "ClientGone", 2)
    assert set(outcomes.values()) <= {("answered", "", 2)}


def test_whoever_goes_before_the_turn_is_over_is_not_charged():
    records, asked = [], []

    def model(x):
        asked.append(len(x))
        return np.full((len(x), 3), 1 / 3, np.float32)

    async def scene():
        gone = asyncio.Event()
        request_context.begin("/", "", {}).has_gone = gone.is_set
        endpoint = gateway(TurnBased(model), observer=records.append).endpoints["toy"]
        asking = asyncio.ensure_future(endpoint.answer(ArrayQuery(np.zeros((1, *SHAPE), np.float32), "ann")))
        await asyncio.sleep(0)  # it has begun
        gone.set()
        with pytest.raises(ClientDisconnect):
            await asyncio.wait_for(asking, PATIENCE)
        return endpoint.session.begin("ann", "").queries

    assert asyncio.run(scene()) == 0
    assert not asked
    assert [(it.outcome, it.reason) for it in records] == [("cancelled", "ClientGone")]
