"""What clients of gRPC may do by the frames of HTTP/2, and what those do who are none."""

import asyncio
import gc
import socket
import struct
import tracemalloc
from contextlib import contextmanager, suppress
from itertools import islice

import grpc
import pytest
from hpack import Decoder
from tests.support.gateways import Slow, Straight, X, calling, gateway
from tests.support.http2 import (
    ACKNOWLEDGED,
    CONNECTION_BEGINS,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    begun_message,
    call_begins,
    frame,
    frames_of,
    statuses_of,
)
from tests.support.infer_requests import infer_message
from tests.support.waiting import PATIENCE, eventually

from feint.gateway.app import Limits
from feint.gateway.rpc import INFER
from feint.gateway.server import rpc_connection
from feint.gateway.server.rpc_call import MessageBuffer
from feint.gateway.server.rpc_server import RpcServer
from feint.gateway.settings import ServerSettings
from feint.openinference import proto

LIVE = f"/{proto.SERVICE}/ServerLive"
KEY = ("authorization", "Bearer k")
MESSAGE = infer_message(X).SerializeToString()
BEGINS = CONNECTION_BEGINS + ACKNOWLEDGED
CALL = call_begins(INFER, KEY) + begun_message(len(MESSAGE), MESSAGE)


@contextmanager
def connected(address):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as line:
        yield line


def statuses(line, count=1):
    """The statuses of the next calls, fewer where the connection ends."""
    return [*islice(statuses_of(line), count)]


def is_live(address) -> bool:
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary(LIVE, None, proto.ServerLiveResponse.FromString)(b"", timeout=PATIENCE).live


@pytest.mark.parametrize("size", [1, 7, 25, 10_000])
def test_a_call_is_answered_in_whatever_pieces_it_comes(size):
    with calling(gateway()) as address, connected(address) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        whole = BEGINS + CALL
        for start in range(0, len(whole), size):
            line.sendall(whole[start : start + size])
        assert statuses(line) == [0]


def test_header_fields_may_go_on_in_another_frame():
    begun = call_begins(INFER, KEY)
    fields, half = begun[9:], 20
    parts = frame(HEADERS, 0, 1, fields[:half]) + frame(CONTINUATION, END_HEADERS, 1, fields[half:])
    with calling(gateway()) as address, connected(address) as line:
        line.sendall(BEGINS + parts + begun_message(len(MESSAGE), MESSAGE))
        assert statuses(line) == [0]


def test_frames_that_are_not_known_are_passed_over():
    with calling(gateway()) as address, connected(address) as line:
        line.sendall(BEGINS + frame(99, 0, 0, b"new") + CALL + frame(99, 0, 1, b"new"))
        assert statuses(line) == [0]


def test_many_calls_over_one_connection_have_their_turns(monkeypatch):
    """More frames at once than are taken in before others have their turn."""
    monkeypatch.setattr(rpc_connection, "COST", 3)
    streams = range(1, 61, 2)
    calls = b"".join(call_begins(LIVE, stream=stream) + begun_message(0, b"", stream) for stream in streams)
    with calling(gateway()) as address, connected(address) as line:
        line.sendall(BEGINS + calls)
        assert statuses(line, len(streams)) == [0] * len(streams)


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        BEGINS + frame(HEADERS, END_HEADERS, 1, b"\xff" * 99),
        BEGINS + frame(DATA, 0, 1, b"of no call"),
        BEGINS + frame(HEADERS, 0, 1, bytes(2**14)) + frame(CONTINUATION, 0, 1, bytes(2**14)),
        BEGINS + b"\xff\xff\xff" + bytes(2**20),
        BEGINS + b"".join(
            frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", 100 * n + i, 1) for i in range(99))) for n in range(1, 9)
        ),
    ],
    ids=["http1", "hpack", "no call", "head", "frame", "settings"],
)  # fmt: skip
def test_who_does_not_speak_http2_is_hung_up_on_and_others_are_not(junk):
    with calling(gateway()) as address:
        with connected(address) as line, suppress(ConnectionError):
            line.sendall(junk)
            assert 0 not in statuses(line)
        assert is_live(address)


def test_what_is_no_call_of_gRPC_is_refused_as_http():  # noqa: N802
    begun = call_begins(LIVE).replace(b"application/grpc", b"application/json")
    with calling(gateway()) as address, connected(address) as line:
        line.sendall(BEGINS + begun)
        fields = Decoder()
        content = next(content for kind, content in frames_of(line) if kind == HEADERS)
    assert fields.decode(content) == [(":status", "415")]


def test_calls_that_are_reset_at_once_do_not_reach_the_model():
    pipeline = Straight()
    resets = b"".join(
        call_begins(INFER, KEY, stream=n) + begun_message(len(MESSAGE), MESSAGE, n) + frame(RST_STREAM, 0, n, bytes(4))
        for n in range(1, 401, 2)
    )
    served = gateway(pipeline)
    with calling(served) as address:
        with connected(address) as line:
            line.sendall(BEGINS + resets)
            assert is_live(address)
        eventually(lambda: not served._in_flight)
    assert len(pipeline.queries) < 20  # those between whose message and reset others had their turn


def test_pings_of_a_client_who_does_not_read_are_not_read_either(monkeypatch):
    """Their answers would pile up, 17 bytes for each."""
    paused, pause = [], rpc_connection.RpcConnection.pause_writing
    monkeypatch.setattr(
        rpc_connection.RpcConnection, "pause_writing", lambda it: paused.append(it._transport) or pause(it)
    )
    pings = frame(PING, 0, 0, bytes(8)) * 1000
    with calling(gateway()) as address:
        with connected(address) as line:
            line.sendall(BEGINS)
            line.settimeout(0.5)
            with suppress(TimeoutError):
                for _ in range(4000):  # 68 MB: more than the sockets hold
                    line.sendall(pings)
            eventually(lambda: paused)
            assert paused[0].get_write_buffer_size() < 2**18
        assert is_live(address)


def test_an_answer_that_is_not_read_is_given_up():
    nothing = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))  # SETTINGS_INITIAL_WINDOW_SIZE
    served = gateway(limits=Limits(arrive=0.3))
    with calling(served) as address, connected(address) as line:
        line.sendall(BEGINS + nothing + CALL)
        assert any(kind == RST_STREAM for kind, _ in frames_of(line))
        eventually(lambda: not served._in_flight)


def test_frames_of_one_byte_take_one_byte():
    """The library keeps 280 bytes for each."""

    async def scene():
        given_back = 0

        def acknowledge(size):
            nonlocal given_back
            given_back += size

        buffer = MessageBuffer(acknowledge)
        reading = asyncio.ensure_future(buffer.read(10_000))
        await asyncio.sleep(0)
        tracemalloc.start()
        for _ in range(10_000):
            buffer.add(b"x", 1)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert await reading == b"x" * 10_000
        return given_back, most

    given_back, most = asyncio.run(scene())
    assert given_back == 9_999  # the last one is when the next ones are wanted
    assert most < 100_000


def test_what_comes_after_a_message_is_dropped():
    acknowledged = []
    buffer = MessageBuffer(acknowledged.append)
    buffer.close()
    for _ in range(100):
        buffer.add(b"more", 4)
    assert sum(acknowledged) == 400
    buffer.eof()
    assert asyncio.run(buffer.read(1)) == b""


def test_what_is_not_read_yet_is_not_acknowledged():
    acknowledged = []
    buffer = MessageBuffer(acknowledged.append)
    buffer.add(b"four", 4)
    assert not acknowledged
    assert asyncio.run(buffer.read(3)) == b"fou"
    buffer.close()
    assert sum(acknowledged) == 4
    buffer.eof()
    assert asyncio.run(buffer.read(3)) == b""


def test_a_call_leaves_nothing_for_the_collector():
    """It left 24 objects, and the collector's pauses were the slowest hundredth of the calls."""
    served, count = gateway(), 40

    def call_all(line, first):
        streams = range(first, first + 2 * count, 2)
        line.sendall(
            b"".join(call_begins(INFER, KEY, stream=n) + begun_message(len(MESSAGE), MESSAGE, n) for n in streams)
        )
        answers = 0
        for kind, _ in frames_of(line):
            answers += kind == DATA
            if answers == count:
                break
        eventually(lambda: not served._in_flight)

    with calling(served) as address, connected(address) as line:
        line.sendall(BEGINS)
        call_all(line, 1)
        gc.collect()
        gc.disable()
        try:
            call_all(line, 1 + 2 * count)
            assert gc.collect() < count
        finally:
            gc.enable()


def test_calls_under_way_are_answered_before_a_server_stops():
    model = Slow()

    async def scene():
        server = RpcServer(gateway(Straight(model)), ServerSettings())
        address = f"127.0.0.1:{await server.start(0)}"
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(INFER)(MESSAGE, metadata=(KEY,), timeout=PATIENCE)
            answered = asyncio.ensure_future(call)
            await asyncio.to_thread(eventually, lambda: model.asked)
            stopping = asyncio.ensure_future(server.stop(PATIENCE))
            await asyncio.sleep(0.05)
            assert not stopping.done()
            model.go.set()
            assert await answered
            await stopping

    asyncio.run(scene())


def test_a_call_that_comes_when_a_connection_ends_is_left_to_another(monkeypatch):
    model = Slow()
    monkeypatch.setattr(rpc_connection, "IDLE", PATIENCE)

    async def scene():
        server = RpcServer(gateway(Straight(model)), ServerSettings(connection_age=0.2))
        port = await server.start(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(BEGINS + CALL)
        received = b""
        while frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)) not in received:
            received += await reader.read(4096)
        writer.write(call_begins(INFER, KEY, stream=3))
        refused = frame(RST_STREAM, 0, 3, struct.pack(">I", 7))
        while refused not in received:
            received += await reader.read(4096)
        model.go.set()
        while more := await reader.read(4096):  # the first one is answered, and the connection ends
            received += more
        writer.close()
        await server.stop(0)

    asyncio.run(asyncio.wait_for(scene(), PATIENCE))
