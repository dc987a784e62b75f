"""How long a connection lives, over HTTP and over gRPC."""

import gc
import json
import socket
import sys
from contextlib import suppress

import grpc
import pytest
from benchmarks.load.processes import Server, free_port
from tests.support.certificates import certificate
from tests.support.gateways import ANYBODY
from tests.support.graph_files import whole
from tests.support.http2 import CONNECTION_BEGINS, GOAWAY, frames_of
from tests.support.waiting import PATIENCE, eventually

from feint.errors import BadRecipe
from feint.gateway.server import rpc_server
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


def test_an_answered_request_leaves_nothing_until_garbage_is_collected(tmp_path):
    """What refers to itself would: 31 objects and the body, so that every 650 requests all others waited 5 to 10 ms."""
    requests = 20
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [0, 0, 1, 1]}]})
    request = f"POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def ask(connection):
        connection.sendall(request)
        received = b""
        while b"]}" not in received:
            received += connection.recv(4096)
        assert received.startswith(b"HTTP/1.1 200")

    with served(tmp_path) as server, socket.create_connection(("127.0.0.1", server.rest_port)) as connection:
        ask(connection)
        gc.collect()
        gc.disable()
        try:
            for _ in range(requests):
                ask(connection)
            assert gc.collect() < requests  # some garbage is not of requests
        finally:
            gc.enable()


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
    monkeypatch.setattr(rpc_server, "IDLE", 100)
    with served(tmp_path) as server, socket.create_connection(("127.0.0.1", server.grpc_port)) as stranger:
        stranger.sendall(CONNECTION_BEGINS)
        stranger.settimeout(PATIENCE)
        assert GOAWAY in [kind for kind, _ in frames_of(stranger)]


@pytest.mark.parametrize("server", [{"keep_alive": 0.0}, {"connection_age": -1.0}])
def test_times_of_connections_are_not_below_0(server):
    with pytest.raises(BadRecipe, match="keep_alive above 0"):
        ServerSettings(**server)


@pytest.mark.slow
@pytest.mark.parametrize("verbosity", ["", "INFO"])
def test_a_broken_handshake_of_grpc_writes_no_line_that_is_not_json(tmp_path, monkeypatch, verbosity):
    """Unless the operator asks for what gRPC itself writes."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    if verbosity:
        monkeypatch.setenv("GRPC_VERBOSITY", verbosity)
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
    assert ("ssl_transport_security" in (tmp_path / "log").read_text()) is bool(verbosity)
