"""How long a connection lives, over HTTP and over gRPC."""

import json
import resource
import socket
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial

import grpc
import httpx2
import pytest
from benchmarks.load.processes import Server, free_port
from tests.support.certificates import certificate
from tests.support.gateways import ANYBODY
from tests.support.graph_files import whole
from tests.support.http2 import CONNECTION_BEGINS, GOAWAY, frames_of
from tests.support.waiting import PATIENCE, eventually

from feint.errors import BadRecipe
from feint.gateway.server import ports, rpc_connection
from feint.gateway.server.run import running
from feint.gateway.settings import OnnxSettings, ServerSettings, Settings
from feint.openinference import proto

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def served(tmp_path, **server):
    return running(
        Settings({"toy": OnnxSettings(path=whole(tmp_path / "toy.onnx"))}, ServerSettings(**server), **ANYBODY)
    )


def ends(connection):
    """Whether the server ends the connection with its next answer."""
    connection.sendall(LIVE)
    received = b""
    while b"}" not in received:
        received += connection.recv(4096)
    assert received.startswith(b"HTTP/1.1 200")
    return b"connection: close" in received.lower()


def test_an_old_connection_ends_with_its_next_answer(tmp_path):
    with (
        served(tmp_path, connection_age=0.01) as server,
        socket.create_connection(("127.0.0.1", server.rest_port)) as connection,
    ):
        eventually(lambda: ends(connection))
        assert connection.recv(1) == b""


@pytest.mark.parametrize("age", [0.0, 1000.0])
def test_a_young_connection_is_kept(tmp_path, age):
    with (
        served(tmp_path, connection_age=age) as server,
        socket.create_connection(("127.0.0.1", server.rest_port)) as connection,
    ):
        assert not any(ends(connection) for _ in range(5))


def test_an_idle_connection_is_kept_as_long_as_the_settings_say(tmp_path):
    with served(tmp_path, keep_alive=0.05) as server, socket.create_connection(("127.0.0.1", server.rest_port)) as at:
        ends(at)
        at.settimeout(30)
        while at.recv(4096):
            pass


def test_an_old_channel_of_grpc_is_asked_to_connect_anew(tmp_path):
    with (
        served(tmp_path, connection_age=0.2) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        states = []
        channel.subscribe(states.append)
        live = channel.unary_unary(f"/{proto.SERVICE}/ServerLive")
        live(b"", timeout=30)
        eventually(lambda: grpc.ChannelConnectivity.IDLE in states[1:])
        live(b"", timeout=30)


def test_a_connection_without_a_call_ends_over_grpc_too(tmp_path, monkeypatch):
    """It was open for half an hour, without any key."""
    monkeypatch.setattr(rpc_connection, "IDLE", 0.1)
    with served(tmp_path) as server, socket.create_connection(("127.0.0.1", server.grpc_port)) as stranger:
        stranger.sendall(CONNECTION_BEGINS)
        stranger.settimeout(PATIENCE)
        assert GOAWAY in [kind for kind, _ in frames_of(stranger)]


def test_a_connection_beyond_the_most_is_refused_until_one_ends(tmp_path, caplog):
    with served(tmp_path, max_connections=2) as server:
        first, second = (socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(2))
        assert not ends(first)
        assert not ends(second)
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=PATIENCE) as third:
            head, _, body = b"".join(iter(lambda: third.recv(4096), b"")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 1" in head
        assert body.startswith(b'{"error":"got 3 connections at once; expected at most 2; ')
        assert "a connection over HTTP is refused: 2 are open" in caplog.text
        assert not ends(first)
        second.close()
        eventually(lambda: httpx2.get(f"{server.url}/v2/health/live").status_code == 200)
        first.close()


def test_a_connection_beyond_the_most_is_closed_over_grpc(tmp_path):
    with served(tmp_path, max_connections=2) as server:
        first, second = (socket.create_connection(("127.0.0.1", server.grpc_port)) for _ in range(2))
        for one in (first, second):
            one.sendall(CONNECTION_BEGINS)
            assert one.recv(9)
        with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=PATIENCE) as third:
            assert not [*frames_of(third)]
        second.close()
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            channel.unary_unary(f"/{proto.SERVICE}/ServerLive")(b"", timeout=PATIENCE, wait_for_ready=True)
        first.close()


def test_who_does_not_acknowledge_the_limits_of_grpc_is_hung_up_on(tmp_path):
    """It was open for a minute."""
    with served(tmp_path, arrive=0.2) as server, socket.create_connection(("127.0.0.1", server.grpc_port)) as silent:
        silent.sendall(CONNECTION_BEGINS)
        assert_hung_up_on(silent)


@pytest.mark.parametrize("port", ["rest_port", "grpc_port"])
def test_who_begins_no_handshake_of_tls_is_hung_up_on(tmp_path, port):
    """It was open for a minute over HTTP, and for two over gRPC."""
    certificate(tmp_path)
    files = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
    with (
        served(tmp_path, arrive=0.2, **files) as server,
        socket.create_connection(("127.0.0.1", getattr(server, port))) as silent,
    ):
        assert_hung_up_on(silent)


def assert_hung_up_on(connection):
    """Half the patience: by itself the library hangs up after a minute or later."""
    connection.settimeout(PATIENCE / 2)
    for _ in frames_of(connection):
        pass


def test_connections_leave_files_for_the_ledger(monkeypatch, caplog):
    limits = [100, 1000]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, both: limits.__setitem__(slice(None), both))
    assert ports.most_connections(ServerSettings(max_connections=200)) == 200
    assert limits == [1000, 1000]
    assert not caplog.text
    assert ports.most_connections(ServerSettings()) == 250
    assert "at most 250 connections over HTTP, and over gRPC: 1000 files may be open" in caplog.text
    limits[:] = [resource.RLIM_INFINITY] * 2
    assert ports.most_connections(ServerSettings()) == ServerSettings.max_connections


@pytest.mark.slow
def test_strangers_who_hold_all_connections_leave_files_for_the_ledger(tmp_path):
    """With 96 files nothing could be opened: the ledger's log grew, and its mark could not be written."""
    whole(tmp_path / "toy.onnx")
    port, other = free_port(), free_port()
    (tmp_path / "gateway.toml").write_text(
        f"server = {{rest_port = {port}, grpc_port = {other}}}\nkeys = {{anonymous = true}}\n"
        'models.toy = {path = "toy.onnx", access = ["Budget(1000)"]}\n'
    )
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96)); from feint.cli import main; main()"
    command = [sys.executable, "-c", few, "serve", str(tmp_path / "gateway.toml")]
    body = {"inputs": [{"name": "x", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": [0.1, 0.2, 0.3, 0.4]}]}
    with Server(command, port, log=tmp_path / "log"), ExitStack() as strangers, httpx2.Client() as client:
        ask = partial(client.post, f"http://127.0.0.1:{port}/v2/models/toy/infer", json=body)
        assert ask().status_code == 200
        for _ in range(60):
            strangers.enter_context(socket.create_connection(("127.0.0.1", port)))
            strangers.enter_context(socket.create_connection(("127.0.0.1", other)))
        for _ in range(3):  # the ledger's log is emptied once a second
            assert ask().status_code == 200
            time.sleep(1.1)
    said = (tmp_path / "log").read_text()
    assert "at most 24 connections" in said
    assert "a connection over HTTP is refused: 24 are open" in said
    assert "stays as long as it is" not in said
    assert "Too many open files" not in said


@pytest.mark.parametrize("server", [{"keep_alive": 0.0}, {"connection_age": -1.0}])
def test_times_of_connections_are_not_below_0(server):
    with pytest.raises(BadRecipe, match="keep_alive above 0"):
        ServerSettings(**server)


@pytest.mark.slow
def test_a_broken_handshake_of_grpc_writes_no_line_that_is_not_json(tmp_path):
    certificate(tmp_path)
    whole(tmp_path / "toy.onnx")
    port = free_port()
    (tmp_path / "gateway.toml").write_text(
        f'[server]\nrest_port = 0\ngrpc_port = {port}\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n'
        '[keys]\nanonymous = true\n[ledger]\nstore = "memory:"\n[models.toy]\npath = "toy.onnx"\n'
    )
    command = [sys.executable, "-c", "from feint.cli import main; main()", "serve", str(tmp_path / "gateway.toml")]
    with Server(command, port, log=tmp_path / "log"):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(b"\x16\x03\x01\x00\x05hello" * 20)
                stranger.settimeout(30)
                with suppress(ConnectionResetError):  # where the server ends before it has read all
                    while stranger.recv(4096):
                        pass
    for line in (tmp_path / "log").read_text().splitlines():
        json.loads(line)
