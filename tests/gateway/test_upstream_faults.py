"""Upstreams that fail, over REST and over gRPC, asked over REST and over gRPC: an error that says nothing of them."""

import asyncio
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import httpx2
import numpy as np
import pytest
import torch
from tests.support import upstreams
from tests.support.graph_files import defended, output_defense
from tests.support.upstreams import SECRET, softmax_of, upstream
from tests.support.waiting import PATIENCE

from feint.defense import Defense
from feint.errors import FeintError, RateLimited, TimedOut, Unreachable
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends.http import Pool, Reply
from feint.gateway.backends.torch_pipeline import TorchPipeline
from feint.gateway.backends.upstream import upstream_at
from feint.gateway.server.run import running
from feint.gateway.settings import KeySettings, LedgerSettings, Settings, UpstreamSettings
from feint.ledger import Account
from feint.openinference import proto
from feint.service import Service

X = np.random.default_rng(0).random((5, 1, 2, 2), np.float32)
TIMEOUT = 1.0  # seconds, in which a busy machine answers as well
ACCESS = [{"kind": "Budget", "queries": 10**6}]


class Served:
    """A v2 server over gRPC: `fault` says what it answers instead, as bytes, or does it to the call."""

    def __init__(self):
        self.fault, self.asked, self.port = None, 0, 0

    def metadata(self, request, context):
        side = {"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 2, 2]}
        out = {"name": "p", "datatype": "FP32", "shape": [-1, 3]}
        return proto.MESSAGES["ModelMetadataResponse"](name="toy", inputs=[side], outputs=[out]).SerializeToString()

    def ready(self, request, context):
        return proto.MESSAGES["ModelReadyResponse"](ready=True).SerializeToString()

    def infer(self, request, context):
        self.asked += 1
        if self.fault is not None:
            return self.fault(context)
        x = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(tuple(request.inputs[0].shape))
        return message(softmax_of(x))

    @contextmanager
    def up(self, port=0):
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        calls = {"ModelMetadata": self.metadata, "ModelReady": self.ready, "ModelInfer": self.infer}
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(answer, proto.MESSAGES[f"{name}Request"].FromString)
            for name, answer in calls.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(proto.SERVICE, handlers),))
        self.port = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield self
        finally:
            server.stop(None).wait()


class Relay:
    """A host in front of a server's port: `vanish` lets its connections hang for good, and takes new ones."""

    def __init__(self, port):
        self._port, self._gone, self._sockets = port, threading.Event(), []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.connections = self._listener.getsockname()[1], 0
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *error):
        for open_socket in (self._listener, *self._sockets):
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()
        for thread in self._threads:
            thread.join()

    def vanish(self):
        self._gone.set()
        self._gone, self.connections = threading.Event(), 0

    def _accept(self):
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                self.connections += 1
                there = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += here, there
                for pair in (here, there), (there, here):
                    self._threads.append(threading.Thread(target=self._pass, args=(*pair, self._gone)))
                    self._threads[-1].start()

    def _pass(self, source, target, gone):
        with suppress(OSError):
            while (data := source.recv(9999)) and not gone.is_set():
                target.sendall(data)
            if not gone.is_set():
                target.shutdown(socket.SHUT_WR)


def test_an_upstream_whose_host_vanishes_is_asked_at_its_new_place_over_grpc():
    with Served().up() as server, Relay(server.port) as relay:
        at = UpstreamSettings(upstream=f"grpc://127.0.0.1:{relay.port}", timeout=2.0)

        async def scene():
            model = upstream_at(at, "toy")
            await model.probe()
            relay.vanish()
            assert not await model.ready()
            assert await model.ready()
            np.testing.assert_allclose(await model.infer(X), P, atol=1e-6)
            model.close()

        asyncio.run(scene())


def test_an_upstream_whose_host_vanishes_costs_one_request_and_not_one_for_each_connection():
    with upstream() as server, Relay(server.server_port) as relay:

        async def scene():
            pool = Pool(f"http://127.0.0.1:{relay.port}", connect=5.0, timeout=TIMEOUT)
            await asyncio.gather(*(pool("GET", "/v2") for _ in range(5)))
            assert relay.connections == 5
            relay.vanish()
            with pytest.raises(TimedOut):
                await pool("GET", "/v2")
            assert (await pool("GET", "/v2")).status == 200
            pool.close()

        asyncio.run(scene())


def message(p, *, datatype="FP32", name="p", shape=None):
    """An answer that holds these numbers as raw bytes."""
    response = proto.ModelInferResponse(model_name="toy")
    response.outputs.add(name=name, datatype=datatype, shape=p.shape if shape is None else shape)
    response.raw_output_contents.append(p.astype("<f4").tobytes())
    return response.SerializeToString()


def gives(*args, **kwargs):
    raw = args[0] if isinstance(args[0], bytes) else message(*args, **kwargs)

    return lambda context: raw


def aborts(context):
    context.abort(grpc.StatusCode.INTERNAL, SECRET, (("secret", SECRET),))


def sleeps(context):
    time.sleep(2 * TIMEOUT)
    return message(softmax_of(X))


def resets(handler):
    """The connection ends with a reset in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"outputs"')
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()
    return True


def hangs(handler):
    """Headers, and then nothing."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    time.sleep(2 * TIMEOUT)
    return upstreams.killed(handler)


def trickles(handler):
    """An answer that never ends: each byte in time."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    end = time.monotonic() + 2 * TIMEOUT
    while time.monotonic() < end:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)
    return upstreams.killed(handler)


P = softmax_of(X)
PLAIN = {"name": "p", "datatype": "FP32", "shape": [5, 3]}
REST = {
    "reset": (resets, 502),
    "hangs": (hangs, 504),
    "trickles": (trickles, 504),
    "slow": (upstreams.slow, 504),
    "killed": (upstreams.killed, 502),
    "text": (upstreams.says(500, {"error": SECRET}), 502),
    "redirect": (lambda handler: handler.send(307, b"", {"Location": "http://10.0.0.7/secret"}), 502),
    "more rows": (upstreams.outputs(PLAIN | {"shape": [6, 3], "data": [1 / 3] * 18}), 500),
    "deep": (upstreams.says(200, b"[" * 10**5), 500),
    "many digits": (upstreams.says(200, b'{"outputs":[{"name":"p","shape":[5,3],"data":[' + b"9" * 400 + b"]}]}"), 500),
    "no parameters": (upstreams.outputs(PLAIN | {"parameters": 5}), 500),
    "short binary": (lambda handler: handler.send(
        200, b'{"outputs":[{"name":"p","shape":[5,3],"datatype":"FP32","parameters":{"binary_data_size":60}}]}1234',
        {upstreams.LENGTH: "92"}), 500),
}  # fmt: skip
RPC = {
    "text": (aborts, 502),
    "slow": (sleeps, 504),
    "garbage": (gives(b"\xff" * 99), 502),
    "nothing": (gives(b""), 500),
    "NaN": (gives(P * np.nan), 500),
    "wrong shape": (gives(P.T), 500),
    "more rows": (gives(np.concatenate([P, P])), 500),
    "fewer rows": (gives(P[:1]), 500),
    "too few bytes": (gives(P[:1], shape=(5, 3)), 500),
    "wrong datatype": (gives(P, datatype="INT64"), 500),
    "no datatype": (gives(P, datatype="BYTES"), 500),
    "another output": (gives(P, name="logits"), 500),
    "logits": (gives(np.log(P)), 500),
}
CODES = {500: "INTERNAL", 502: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Both upstreams, and clients of a gateway in front of both."""
    with upstream() as rest, Served().up() as rpc, before(tmp_path_factory.mktemp("both"), rest.url, rpc.port) as asked:
        yield {"rest": rest, "rpc": rpc}, asked


@contextmanager
def before(folder, url, port):
    """Ask a model of a gateway, over REST or over gRPC: status or code, the answer, and all that was said."""
    defense = output_defense(folder / "q.onnx", access=ACCESS)
    models = {
        name: UpstreamSettings(upstream=at, upstream_model="toy", output="p", outputs=defense, timeout=TIMEOUT)
        for name, at in (("rest", url), ("rpc", f"grpc://127.0.0.1:{port}"))
    }
    settings = Settings(models, keys=KeySettings(anonymous=True), ledger=LedgerSettings("memory:"))
    with (
        running(settings) as gateway,
        httpx2.Client(base_url=gateway.url, timeout=20) as client,
        grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel,
    ):
        call = channel.unary_unary(f"/{proto.SERVICE}/ModelInfer", None, proto.ModelInferResponse.FromString)

        def by_rest(model):
            tensor = {"name": "pixels", "datatype": "FP32", "shape": list(X.shape), "data": X.ravel().tolist()}
            told = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
            if told.status_code != 200:
                assert list(told.json()) == ["error"]
                return told.status_code, None, told.text + str(told.headers)
            return 200, np.array(told.json()["outputs"][0]["data"]).reshape(5, 3), told.text

        def by_rpc(model):
            request = proto.ModelInferRequest(model_name=model, raw_input_contents=[X.tobytes()])
            request.inputs.add(name="pixels", datatype="FP32", shape=X.shape)
            try:
                told = call(request.SerializeToString(), timeout=20)
            except grpc.RpcError as error:
                return error.code().name, None, f"{error.details()} {error.trailing_metadata()}"
            return 200, np.frombuffer(told.raw_output_contents[0], "<f4").reshape(5, 3), str(told)

        yield {"rest": by_rest, "rpc": by_rpc, "gateway": gateway, "client": client}


@pytest.mark.slow
@pytest.mark.parametrize("asking", ["rest", "rpc"])
@pytest.mark.parametrize(("model", "name"), [*(("rest", it) for it in REST), *(("rpc", it) for it in RPC)])
def test_a_failing_upstream_is_an_error_and_no_more(served, asking, model, name):
    servers, ask = served
    server, (fault, status) = servers[model], {"rest": REST, "rpc": RPC}[model][name]
    transaction = ask["gateway"].gateway.endpoints[model].session.begin
    spent = transaction("anonymous").queries
    server.fault, start = fault, time.monotonic()
    code, _, said = ask[asking](model)
    took, server.fault = time.monotonic() - start, None
    assert code == (status if asking == "rest" else CODES[status])
    assert took < TIMEOUT + 15
    assert "secret" not in said
    assert "10.0.0.7" not in said
    assert not any(repr(float(value))[:7] in said for value in P.astype(np.float32).ravel())
    assert transaction("anonymous").queries == spent  # what was not answered is not counted
    code, q, _ = ask[asking](model)
    np.testing.assert_allclose(q, defended(P), atol=1e-6)
    assert code == 200
    assert transaction("anonymous").queries == spent + 5


@pytest.mark.parametrize(
    "body", [b"[" * 10**5, b"5", b"\xff", b'{"extensions": 5}', b'{"inputs": [{"name": 1, "shape": 2}]}']
)
def test_invalid_upstream_metadata_are_an_error(body):
    """They are an error that whoever looks after upstreams knows, or it would look no more."""

    async def probe():
        it = upstream_at(UpstreamSettings(upstream="http://127.0.0.1:9"), "toy")
        it._transport._call = answered
        await it.probe()

    async def answered(*_):
        return Reply(200, {}, body)

    with pytest.raises(FeintError):
        asyncio.run(probe())


def test_an_infer_over_grpc_is_never_sent_twice(served):
    servers, ask = served
    for fault in (aborts, sleeps, gives(b"\xff")):
        servers["rpc"].fault, before_it = fault, servers["rpc"].asked
        ask["rest"]("rpc")
        servers["rpc"].fault = None
        assert servers["rpc"].asked == before_it + 1


@pytest.mark.slow
def test_who_comes_back_is_asked_again_within_seconds(tmp_path):
    """With the times as they are: 2 seconds between two looks, 1 between two tries of gRPC to connect."""
    with upstream() as rest, Served().up() as rpc:
        ports = rest.server_port, rpc.port
    with before(tmp_path, f"http://127.0.0.1:{ports[0]}", ports[1]) as ask:
        for _ in range(2):
            assert [ask["rest"](it)[0] for it in ("rest", "rpc")] == [502, 502]
            assert ask["client"].get("/v2/health/ready").status_code == 503
            with upstream(ports[0]), Served().up(ports[1]):
                start = time.monotonic()
                took = {
                    name: seconds_until(lambda name=name: ask["rest"](name)[0] == 200, start)
                    for name in ("rest", "rpc")
                }
                took["ready"] = seconds_until(lambda: ask["client"].get("/v2/health/ready").status_code == 200, start)
                print("back after", {name: round(it, 2) for name, it in took.items()})
            seconds_until(lambda: ask["client"].get("/v2/health/ready").status_code == 503, time.monotonic())


def seconds_until(true, start):
    while not true():
        assert time.monotonic() - start < PATIENCE, "it never came true"
        time.sleep(0.05)
    return time.monotonic() - start


def test_a_rate_limit_of_the_api_behind_a_model_is_no_clients():
    class Limited(torch.nn.Module):
        def forward(self, x):
            raise RateLimited("http://hidden, which limits the rate", "patience", "go on later", 3.0)

    pipeline, query = TorchPipeline(Service(Limited(), Defense())), ArrayQuery(X, client="a")
    with pytest.raises(Unreachable):
        asyncio.run(_answered(pipeline, query))
    pipeline.close()


async def _answered(pipeline, query):
    return await pipeline.answer(query, await pipeline.compute(query), Account("a"))


ENDLESS = {
    "a header": (b"HTTP/1.1 200 OK\r\nA: ", b"a" * 2**16),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 2**13),
    "interim replies": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2**11),
    "the frame of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 2**16),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 2**13),
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 2**16),
}


async def asked(write):
    """What a pool makes of a server of which `write` writes the reply."""
    ended = asyncio.Event()

    async def answer(reader, writer):
        with suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            await write(writer)
        writer.close()
        ended.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pool = Pool(f"http://127.0.0.1:{port}", connect=PATIENCE, timeout=PATIENCE, most=2**20)
        try:
            return await pool("GET", "/v2")
        finally:
            await ended.wait()


@pytest.mark.parametrize("name", ENDLESS)
def test_a_reply_without_end_is_given_up_at_a_size(name):
    begin, part = ENDLESS[name]

    async def write(writer):
        writer.write(begin)
        while True:
            writer.write(part)
            await writer.drain()

    with pytest.raises(Unreachable) as raised:
        asyncio.run(asked(write))
    assert not isinstance(raised.value, TimedOut)


def test_a_body_in_chunks_of_a_byte_is_read():
    async def write(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 2**17 + b"0\r\n\r\n")
        await writer.drain()

    assert asyncio.run(asked(write)).body == b"a" * 2**17
