"""Enemies of a running gateway, a process of its own: each is told what was wrong, none takes its memory or time."""

import asyncio
import copy
import json
import select
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import grpc
import httpx2
import pytest
from benchmarks.load.processes import Server, free_port
from tests.support.graph_files import whole
from tests.support.http2 import (
    ACKNOWLEDGED,
    AGAIN,
    CONNECTION_BEGINS,
    STORED,
    begun_message,
    call_begins,
    frames_of,
    statuses_of,
)
from tests.support.infer_requests import BAD_BODIES, BAD_MESSAGES
from tests.support.waiting import PATIENCE

from feint.gateway.auth.keyfile import Keys
from feint.gateway.metadata import PAGES
from feint.gateway.rpc import CALLS, INFER
from feint.gateway.server.limits import AHEAD, HEAD, BoundedConnection
from feint.openinference import json_codec, proto
from feint.openinference.model_spec import ModelSpec
from feint.signature import Pixels

ARRIVE = 0.6  # seconds
SETTINGS = """
server = {{rest_port = {rest}, grpc_port = {rpc}, arrive = {arrive}, max_batch = 64, max_body = 8388608}}
keys = {{file = "keys.db"}}
ledger = {{store = "memory:"}}
operator = {{log = "debug"}}
models.toy = {{path = "toy.onnx"}}
"""
GOOD = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": [0.1, 0.2, 0.3, 0.4]}]}
).encode()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    room = tmp_path_factory.mktemp("bad")
    whole(room / "toy.onnx")
    key, _ = Keys(room / "keys.db", new=True).add("ann")
    rest, rpc = free_port(), free_port()
    (room / "gateway.toml").write_text(SETTINGS.format(rest=rest, rpc=rpc, arrive=ARRIVE))
    command = [sys.executable, "-c", "from feint.cli import main; main()", "serve", str(room / "gateway.toml")]
    with Server(command, rest, log=room / "log") as process:
        it = SimpleNamespace(rest=rest, rpc=rpc, key=key, process=process, log=room / "log")
        it.post = b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % key.encode()
        for _ in range(300):  # what is loaded at the first request is not counted
            assert b"200 OK" in said(it, sized(it.post) + GOOD)
        yield it
    assert "Traceback" not in it.log.read_text()


def sized(post, size=-1):
    size = len(GOOD) if size < 0 else size
    return post + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % size


def said(it, *parts, gap=0.0, patience=10.0):
    """All that the gateway says to these bytes until it ends the connection."""
    got = b""
    with socket.create_connection(("127.0.0.1", it.rest), timeout=patience) as connection:
        with suppress(OSError):
            for part in parts:
                connection.sendall(part)
                time.sleep(gap)
        with suppress(ConnectionResetError):
            while more := connection.recv(65536):
                got += more
    return got


def told(answer):
    """Status and error of the answer, which is a v2 error and nothing else."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    said = json.loads(body)
    assert set(said) <= {"error", "parameters"}
    assert "expected" in said["error"]
    for inside in ("Traceback", ".py", "/tmp", "site-packages", "0x"):
        assert inside not in answer.decode("latin-1")
    return int(head.split()[1]), said["error"]


def alive(it):
    assert b"200 OK" in said(it, sized(it.post) + GOOD)


HTTP = {
    "no HTTP": (lambda post: b"\x00\xff\x01\r\n\r\n", 400),
    "TLS": (lambda post: bytes.fromhex("16030102000100010000000000"), 400),
    "HTTP/2": (lambda post: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no Host": (lambda post: b"GET /v2 HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (lambda post: b"GET /v2 HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "another version": (lambda post: b"GET /v2 HTTP/0.9\r\nHost: x\r\n\r\n", 400),
    "a coded body": (lambda post: post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "no method": (lambda post: b"BREW /v2 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "CONNECT": (lambda post: b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "letters for a length": (lambda post: post + b"Content-Length: abc\r\n\r\n" + GOOD, 400),
    "a negative length": (lambda post: post + b"Content-Length: -5\r\n\r\n" + GOOD, 400),
    "two lengths": (lambda post: post + b"Content-Length: 3\r\n" + sized(b"") + GOOD, 400),
    "an endless length": (lambda post: sized(post, 10**23) + GOOD, 400),
    "a length and chunks": (lambda post: post + b"Transfer-Encoding: chunked\r\n" + sized(b"") + GOOD, 400),
    "a chunk of no size": (lambda post: post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "a length above the limit": (lambda post: sized(post, 10**13) + GOOD, 413),
    "a body with Upgrade": (
        lambda post: post + b"Upgrade: h2c\r\n" + sized(b"").replace(b"close", b"Upgrade") + GOOD, 400),
    "two keys": (lambda post: post + b"Authorization: Bearer x\r\n" + sized(b"") + GOOD, 400),
    "two keys on a page": (
        lambda post: b"GET /v2 HTTP/1.0\r\n" + post[post.index(b"Auth"):] + b"Authorization: Bearer x\r\n\r\n", 400),
    "two headers of tensors": (
        lambda post: post + b"Inference-Header-Content-Length: 5\r\n" * 2 + sized(b"") + GOOD, 400),
    "a header of tensors beyond the body": (
        lambda post: post + b"Inference-Header-Content-Length: 9999\r\n" + sized(b"") + GOOD, 400),
    "a compressed body": (lambda post: post + b"Content-Encoding: gzip\r\n" + sized(b"") + GOOD, 415),
    "a space before the colon": (lambda post: b"GET /v2 HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "bytes in a path": (lambda post: b"GET /v2/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bytes in a key": (lambda post: b"GET /v2 HTTP/1.0\r\nAuthorization: Bearer \xff\xfe\r\n\r\n", 401),
    "a long path": (lambda post: b"GET /v2/" + b"a" * 2 * HEAD + b" HTTP/1.0\r\n\r\n", 413),
    "many headers": (lambda post: b"GET /v2 HTTP/1.0\r\n" + b"A: b\r\n" * HEAD + b"\r\n", 413),
    "many requests at once": (lambda post: (post + b"Content-Length: 0\r\n\r\n") * (AHEAD + 9), 413),
    "deep": (lambda post: sized(post, 10**5) + b"[" * 10**5, 400),
    "deep in a field": (lambda post: sized(post, 100_005) + b'{"x":' + b"[" * 10**5, 400),
    "too many inputs": (lambda post: sized(post, len(MANY)) + MANY, 413),
    "another method": (lambda post: b"DELETE" + post[4:] + b"Connection: close\r\n\r\n", 405),
    "TRACE": (lambda post: b"TRACE /v2 HTTP/1.0\r\n\r\n", 405),
}  # fmt: skip
MANY = GOOD.replace(b"[1, 1", b"[65, 1")
PATHS = [
    "/", "/v2/", "//v2", "/v2/models/../../etc/passwd", "/v2/models/%2e%2e/infer", "/v2/models/%00/infer",
    "/v2/models/%0d%0aX:%20y/infer", "/v2/models/%ff%fe/infer", "/v2/models//infer", "/v2/models/toy/versions//infer",
    "/v2/models/toy/versions/2/infer", "/v2/models/" + "n" * 9999 + "/infer", "/v2/models/toy%20/infer",
    "/v2/models/TOY/infer", "/v2/models/{x.__class__}/infer", "/v2/models/toy;a=b/infer", "/v2/models/%E2%98%83/infer",
]  # fmt: skip


@pytest.mark.parametrize("name", HTTP)
def test_what_is_no_request_is_told_in_one_line(served, name):
    send, status = HTTP[name]
    answers = said(served, send(served.post))
    assert told(b"HTTP/1.1 " + answers.split(b"HTTP/1.1 ")[-1])[0] == status
    alive(served)


BEHIND = ["no HTTP", "no Host", "an endless length", "a coded body", "a chunk of no size", "a body with Upgrade",
          "many headers", "many requests at once"]  # fmt: skip


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("name", BEHIND)
def test_requests_before_a_malformed_one_are_answered_first(served, name, before):
    send, status = HTTP[name]
    good = served.post + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    statuses = [int(line[:3]) for line in said(served, good * before + send(served.post)).split(b"HTTP/1.1 ")[1:]]
    assert (statuses[:before], statuses[-1]) == ([200] * before, status)


def test_odd_names_and_paths_lead_nowhere(served):
    for path in PATHS:
        post = served.post.replace(b"/v2/models/toy/infer", path.encode())
        status, error = told(said(served, sized(post) + GOOD))
        assert status == 404, path
        assert "n" * 99 not in error
    alive(served)


def test_spaces_and_case_of_headers_are_no_matter(served):
    post = served.post + b"Content-Encoding: Identity\r\nConnection: close\r\nContent-Length: %d \r\n\r\n" % len(GOOD)
    assert b"200 OK" in said(served, post + GOOD)


def test_upgrade_without_a_body_is_passed_over(served):
    asked = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
    assert b"200 OK" in said(served, asked)


CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "silence": [],
    "a header": [b"GET /v2 HTTP/1.1\r\n", *[b"A: b\r\n"] * 9999],
    "one line": [b"GET /v2 HTTP/1.1\r\nA: ", *[b"b"] * 9999],
    "between requests": [b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n", *[b"\r\n"] * 9999],
    "a body": ["post", sized(b"").replace(b"close", b"keep-alive"), *[b" "] * 9999],
    "chunks": ["post", CHUNKS, *[b"1\r\n \r\n"] * 9999],
    "one chunk's name": ["post", CHUNKS + b"1;", *[b"a"] * 9999],
    "a body that nobody reads": [
        b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
        *[b" "] * 9999,
    ],
    "a second request": [b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /v2 HTTP/1.1\r\n", *[b"A: b\r\n"] * 9999],
}


@pytest.mark.slow
def test_who_trickles_is_hung_up_on(served):
    """All at once, a byte every 20 ms, so that none of them is ever silent. Who is not hung up on goes on for long."""

    def seconds(name):
        parts = [served.post if part == "post" else part for part in SLOW[name]]
        with socket.create_connection(("127.0.0.1", served.rest), timeout=10) as connection:
            start, got = time.monotonic(), b""
            with suppress(OSError):
                while time.monotonic() - start < PATIENCE and (parts or not SLOW[name]):
                    if parts:
                        connection.sendall(parts.pop(0))
                    if select.select([connection], [], [], 0.02)[0]:
                        more = connection.recv(65536)
                        got += more
                        if not more:
                            break
            return time.monotonic() - start, got

    with ThreadPoolExecutor(len(SLOW)) as slow:
        answers = dict(zip(SLOW, slow.map(seconds, SLOW), strict=True))
    for name, (took, got) in answers.items():
        assert 0.9 * ARRIVE < took < PATIENCE / 2, name
        if name in ("a header", "one line", "a body", "chunks", "one chunk's name"):
            assert told(got)[0] == 408, name
    alive(served)


def flood(it, begin, part, megabytes):
    """Send for ever, read nothing; the megabytes that were taken."""
    sent, end = 0, time.monotonic() + 5
    with socket.create_connection(("127.0.0.1", it.rest), timeout=1.0) as connection, suppress(OSError):
        connection.sendall(begin)
        while sent < megabytes * 2**20 and time.monotonic() < end:
            connection.sendall(part)
            sent += len(part)
    return sent / 2**20


PIPELINED = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.slow
def test_floods_take_no_memory(served):
    it, before = served, served.process.memory
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    floods = {
        "a header without end": (b"GET /v2 HTTP/1.1\r\nA: ", b"a" * 2**20),
        "a path without end": (b"GET /", b"a" * 2**20),
        "headers without end": (b"GET /v2 HTTP/1.1\r\n", b"A: b\r\n" * 99999),
        "trailers without end": (it.post + CHUNKS + b"0\r\n", b"A: b\r\n" * 99999),
        "a chunk's name without end": (it.post + CHUNKS + b"1;", b"a" * 2**20),
        "requests without end": (b"", PIPELINED * 9999),
        "a body that nobody reads": (sized(PIPELINED[:-2], 10**12), b" " * 2**20),
        "chunks without end": (it.post + CHUNKS, chunk * 16),
    }
    for name, (begin, part) in floods.items():
        taken = flood(it, begin, part, 64)
        assert taken < 16 or name == "a body that nobody reads", name
        assert it.process.memory - before < 24, name
    for _ in range(20):
        said(it, sized(it.post, 10**5) + b"[" * 10**5)
    assert it.process.memory - before < 24
    alive(it)


@pytest.mark.slow
def test_ten_thousand_bad_keys(served):
    """They take no memory, and the good ones cost the gateway as much of its processor as before."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{served.rest}") as client:

        def seconds(count):
            start = served.process.processor_seconds
            for _ in range(count):
                good = client.post(
                    "/v2/models/toy/infer", content=GOOD, headers={"Authorization": f"Bearer {served.key}"}
                )
                assert good.status_code == 200
            return served.process.processor_seconds - start

        spent, before = seconds(300), served.process.memory
        with socket.create_connection(("127.0.0.1", served.rest), timeout=10) as connection:
            for n in range(0, 10_000, 10):
                keys = [f"feint_{k:012x}_{'A' * 43}" if k % 2 else f"wrong{k}" for k in range(n, n + 10)]
                connection.sendall(b"".join(bad_key(key) for key in keys))
                got = b""
                while got.count(b"}") < 10:
                    got += connection.recv(65536)
                assert got.count(b"HTTP/1.1 401") == 10
        assert served.process.memory - before < 8
        assert seconds(300) < 2 * spent + 0.3


def bad_key(key):
    return (
        b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: 0\r\n\r\n"
        % key.encode()
    )


def test_bad_bodies_on_a_live_wire(served):
    before = served.process.memory
    with httpx2.Client(base_url=f"http://127.0.0.1:{served.rest}") as client:
        for name, body in BAD_BODIES.items():
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            raw = raw.replace(b'"x"', b'"y"').replace(b'"pixels"', b'"x"').replace(b'"p"', b'"probabilities"')
            answer = client.post("/v2/models/toy/infer", content=raw, headers={"Authorization": f"Bearer {served.key}"})
            assert answer.status_code == (413 if name == "huge" else 400), name
            assert list(answer.json()) == ["error"], name
    assert served.process.memory - before < 24


def calls(it, *calling, key=None, name="ModelInfer", together=False, compressed=False, more=()):
    """The codes, and what is said, of gRPC to some bytes."""

    async def once():
        options = [("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{it.rpc}", options=options) as channel:
            ask = channel.unary_unary(name if "/" in name else f"/{proto.SERVICE}/{name}")
            said = (("authorization", f"Bearer {it.key if key is None else key}"), *more) if key != "" else ()
            how = grpc.Compression.Gzip if compressed else None

            async def tried(raw):
                try:
                    return await ask(raw, metadata=said, timeout=20, compression=how)
                except grpc.aio.AioRpcError as error:
                    return error.code().name, error.details()

            if together:
                return await asyncio.gather(*map(tried, calling))
            return [await tried(raw) for raw in calling]

    return asyncio.run(once())


@pytest.mark.slow
def test_invalid_grpc_messages_are_refused(served):
    bad = [b"\xff" * 99, b"\x0a\xff\xff\xff\xff\x0f", b"\x2a\x03\x08", b"\x12" * 3]
    for code, line in calls(served, *bad):
        assert code == "INVALID_ARGUMENT"
        assert "no message; expected a ModelInferRequest" in line
    assert calls(served, b"\xff" * 99, name="ModelMetadata")[0][0] == "INVALID_ARGUMENT"
    assert calls(served, b"", name="Nothing")[0][0] == "UNIMPLEMENTED"
    assert calls(served, bytes(9 * 2**20))[0][0] == "INVALID_ARGUMENT"
    for name, message in copy.deepcopy(BAD_MESSAGES).items():
        for tensor in message.inputs:
            tensor.name = "x" if tensor.name == "pixels" else "pixels"
        if name != "batch":  # more are served here
            ((code, line),) = calls(served, message.SerializeToString())
            assert code in ("INVALID_ARGUMENT", "NOT_FOUND"), name
            assert "expected" in line
    alive(served)


@pytest.mark.slow
def test_who_has_no_key_is_refused_before_a_message_is_read(served):
    before, large = served.process.memory, bytes(7 * 2**20)
    answers = calls(served, *[large] * 40, key="wrong", together=True)
    assert {code for code, _ in answers} == {"UNAUTHENTICATED"}
    assert served.process.memory - before < 16  # 280 MiB were sent
    assert calls(served, b"\xff" * 99, key="")[0][0] == "UNAUTHENTICATED"
    for n in range(0, 2000, 100):
        assert {code for code, _ in calls(served, *[b""] * 100, key=f"bad{n}", together=True)} == {"UNAUTHENTICATED"}
    assert '"reason":"NoKey"' in served.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", [*(call.path for call in CALLS), INFER])
def test_no_call_without_a_key_takes_memory(served, name, compressed):
    """Messages of 7 MiB, which come whole or as 7 KB of gzip."""
    served.process.reset_peak()
    before = served.process.peak
    answers = calls(served, *[bytes(7 * 2**20)] * 40, key="", name=name, together=True, compressed=compressed)
    codes = {answer[0] if isinstance(answer, tuple) else "OK" for answer in answers}
    alone = "UNAUTHENTICATED" if name in [INFER, *(call.path for call in CALLS if call.keyed)] else "OK"
    assert codes == {alone}
    assert served.process.peak - before < 64


PAGE = {"model": "toy", "version": "1"}
PAGE_PATHS = sorted({page.path.format(**PAGE) for page in PAGES})
OTHERS = ["/v2/models/toy/infer", "/v2/models/toy/versions/1/infer", "/openapi.json", "/metrics", "/ui", "/nowhere"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [*PAGE_PATHS, *OTHERS])
def test_no_page_without_a_key_takes_memory(served, path, method):
    """Bodies of 7 MiB, with their length and in chunks."""
    served.process.reset_peak()
    before, body = served.process.peak, bytes(7 * 2**20)
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    sized_body = head + b"Content-Length: %d\r\n\r\n" % len(body), body
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda parts: said(served, *parts), [sized_body, chunked] * 10))
    assert served.process.peak - before < 64
    alive(served)


@pytest.mark.slow
@pytest.mark.parametrize(("message", "times"), [(b"\x2a\x00" * 2**20, 3), (b"\x1a\x80\x80\x80\x01" + bytes(2**21), 60)])
def test_no_refused_message_takes_memory(served, message, times):
    """Messages of 2 MiB with a key: of the smallest fields, and of an id. They were kept until a collection."""
    served.process.reset_peak()
    before = served.process.peak
    assert {code for code, _ in calls(served, *[message] * times)} <= {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert served.process.peak - before < 64
    alive(served)


@pytest.mark.slow
@pytest.mark.parametrize("acknowledged", [ACKNOWLEDGED, b""])
def test_headers_that_one_byte_stands_for_take_no_memory(served, acknowledged):
    """grpcio's server took 159 MiB for them, of a client who had not acknowledged its limits."""
    served.process.reset_peak()
    before = served.process.peak
    with socket.create_connection(("127.0.0.1", served.rpc), timeout=PATIENCE) as connection:
        connection.sendall(CONNECTION_BEGINS + acknowledged + call_begins(INFER, fields=STORED))
        with suppress(ConnectionError):  # it is ended at the first one
            for n in range(1, 100):
                connection.sendall(call_begins(INFER, stream=2 * n + 1, fields=AGAIN * 16_000))
            connection.shutdown(socket.SHUT_WR)
        for _ in frames_of(connection):
            pass
    assert served.process.peak - before < 64
    alive(served)


def test_a_compressed_message_is_refused_with_a_key_too(served):
    ((code, line),) = calls(served, bytes(2**20), compressed=True)
    assert code == "UNIMPLEMENTED"
    assert "compressed" in line


def test_grpc_takes_no_more_than_the_models_do(served):
    largest = json_codec.RequestCodec(spec_of_toy(), max_batch=64, max_body=2**23).body_limit
    ((code, line),) = calls(served, bytes(largest + 1))
    assert code == "INVALID_ARGUMENT"
    assert f"expected at most {largest:,}" in line


def spec_of_toy():
    return ModelSpec("toy", Pixels((1, 2, 2)), "probabilities", 3)


@pytest.mark.parametrize("path", [INFER, "/inference.GRPCInferenceService/ModelMetadata", f"/{proto.HEALTH}/Check"])
def test_a_message_that_does_not_arrive_is_given_up(served, path):
    """With a key, without which none is awaited."""
    before = served.log.read_text().count('"TooSlow"')
    begun = call_begins(path, ("authorization", f"Bearer {served.key}")) + begun_message(1000, b"half of it")
    assert ended(served, begun) == "4"  # DEADLINE_EXCEEDED
    assert served.log.read_text().count('"TooSlow"') == before + 1
    assert ended(served, call_begins(path) + begun_message(1000, b"")) == ("0" if "Check" in path else "16")


def ended(it, call):
    """The status with which the server of gRPC ends a call, "" where it closes the connection instead."""
    with socket.create_connection(("127.0.0.1", it.rpc), timeout=PATIENCE) as connection:
        connection.sendall(CONNECTION_BEGINS + ACKNOWLEDGED + call)
        return next((str(status) for status in statuses_of(connection)), "")


def test_a_call_whose_name_is_no_text_ends_no_other(served):
    """Some releases of grpcio end their server at it."""
    for _ in range(3):
        ended(served, call_begins("/\xff\xfe") + begun_message(0, b""))
        with grpc.insecure_channel(f"127.0.0.1:{served.rpc}") as channel:
            live = channel.unary_unary(f"/{proto.SERVICE}/ServerLive")
            live(b"", timeout=PATIENCE, wait_for_ready=True)


def test_two_keys_over_grpc_are_refused(served):
    ((code, line),) = calls(served, b"", more=(("authorization", "Bearer other"),))
    assert code == "INVALID_ARGUMENT"
    assert "more than one authorization" in line


TRAILERS = CHUNKS + b"%x\r\n%b\r\n0\r\n%b\r\n\r\n"


def test_a_key_in_a_trailer_is_none(served):
    post, key = served.post.split(b"Authorization")[0], b"Authorization: Bearer " + served.key.encode()
    assert b"401" in said(served, post + TRAILERS % (len(GOOD), GOOD, key)).split(b"\r\n")[0]
    assert b"200" in said(served, post + key + b"\r\n" + TRAILERS % (len(GOOD), GOOD, key)).split(b"\r\n")[0]


@pytest.mark.parametrize("page", ["/v2", "/v2/models", "/metrics", "/ui"])
def test_a_wrong_key_on_any_page_is_logged(served, page):
    before = served.log.read_text().count('"NoKey"')
    answer = httpx2.get(f"http://127.0.0.1:{served.rest}{page}", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert served.log.read_text().count('"NoKey"') == before + 1


def test_an_answer_that_nobody_takes_is_dropped():
    """The connection alone: the kernel's buffers hide it from a small answer."""

    async def main():
        loop, aborted = asyncio.get_running_loop(), asyncio.Event()
        transport = SimpleNamespace(
            abort=aborted.set, close=lambda: None, is_closing=lambda: False, get_extra_info=lambda *_: None
        )
        state = SimpleNamespace(connections=set(), tasks=set(), default_headers=[])
        config = SimpleNamespace(
            loaded=True, loaded_app=None, ws_protocol_class=None, root_path="", asgi_version="3.0",
            limit_concurrency=None, timeout_keep_alive=5,
        )  # fmt: skip
        it = BoundedConnection(config, state, {}, loop, most=1, arrive=0.05)
        it.connection_made(transport)
        it.pause_writing()
        it.resume_writing()
        await asyncio.sleep(0.1)
        assert not aborted.is_set()
        it.pause_writing()
        await asyncio.wait_for(aborted.wait(), PATIENCE)
        it.connection_lost(None)

    asyncio.run(main())
