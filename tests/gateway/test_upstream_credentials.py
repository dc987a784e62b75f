"""Credentials and TLS towards upstreams: sent there, and nowhere else."""

import asyncio
import base64
import contextlib
import os
import pty
import select
import signal
import ssl
from contextlib import contextmanager

import grpc
import httpx2
import numpy as np
import pytest
from tests.support.certificates import certificate, lock
from tests.support.gateways import ANYBODY
from tests.support.upstreams import upstream

from feint.errors import BadRecipe, MissingData, Unreachable
from feint.gateway.backends.http import Pool, Reply
from feint.gateway.backends.upstream import upstream_at
from feint.gateway.server.certificates import read_certificate
from feint.gateway.server.run import running
from feint.gateway.settings import ServerSettings, Settings, UpstreamSettings
from feint.openinference import proto
from feint.openinference.json_client_codec import UnreadableResponse
from feint.openinference.model_spec import ModelSpec
from feint.signature import Pixels, Tensor

BASIC = "Basic " + base64.b64encode(b"ann:pa ss").decode()
INPUTS = [{"name": "pixels", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [0.5] * 4}]


def asked_through(**how):
    """Return the status of a request to a gateway before an upstream."""
    with running(Settings({"toy": UpstreamSettings(output="p", **how)}, **ANYBODY)) as gateway:
        return httpx2.post(f"{gateway.url}/v2/models/toy/infer", json={"inputs": INPUTS}).status_code


@pytest.mark.parametrize("where", ["env", "file", "URL"])
@pytest.mark.parametrize("kind", ["bearer", "basic"])
def test_credentials_go_with_every_request(kind, where, tmp_path, monkeypatch):
    text = "t0ken" if kind == "bearer" else "ann:pa ss"
    monkeypatch.setenv("UPSTREAM", f"{text}\n")
    (tmp_path / "secret").write_text(f"{text}\n")
    with upstream() as server:
        url = server.url
        how = {f"{kind}_env": "UPSTREAM"} if where == "env" else {f"{kind}_file": tmp_path / "secret"}
        if where == "URL":
            if kind == "bearer":
                pytest.skip("a URL has no token")
            how, url = {}, url.replace("//", "//ann:pa%20ss@")
        assert asked_through(upstream=url, **how) == 200
        assert len(server.authorizations) > 2
        assert {*server.authorizations} == {"Bearer t0ken" if kind == "bearer" else BASIC}


def test_an_upstream_behind_its_own_authority_is_verified(tmp_path):
    certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with upstream(context=context) as server:
        assert asked_through(upstream=server.url, ca=tmp_path / "cert.pem") == 200
        assert asked_through(upstream=server.url) == 502


def test_an_upstream_that_wants_a_certificate_gets_it(tmp_path):
    certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    context.load_verify_locations(tmp_path / "cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    ours = {"client_cert": tmp_path / "cert.pem", "client_key": tmp_path / "key.pem"}
    with upstream(context=context) as server:
        assert asked_through(upstream=server.url, ca=tmp_path / "cert.pem", **ours) == 200


@contextmanager
def readied(tmp_path, seen):
    """Yield a coroutine function that asks a gRPC server over TLS whether a model is ready."""
    pem = certificate(tmp_path)

    class Ready(grpc.GenericRpcHandler):
        def service(self, details):
            seen.extend(value for name, value in details.invocation_metadata if name == "authorization")
            answer = proto.MESSAGES["ModelReadyResponse"](ready=True).SerializeToString()

            async def ready(message, context):
                return answer

            return grpc.unary_unary_rpc_method_handler(ready)

    async def asked(**how):
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Ready(),))
        credentials = grpc.ssl_server_credentials([((tmp_path / "key.pem").read_bytes(), pem)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        at = UpstreamSettings(upstream=f"grpcs://localhost:{port}", ca=tmp_path / "cert.pem", **how)
        model = upstream_at(at, "toy")
        try:
            return await model.ready()
        finally:
            model.close()
            await server.stop(0)

    yield asked


def test_credentials_go_over_grpc_and_tls(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setenv("UPSTREAM", "t0ken")
    with readied(tmp_path, seen) as asked:
        assert asyncio.run(asked(bearer_env="UPSTREAM"))
    assert seen == ["Bearer t0ken"]


@pytest.mark.parametrize("wrong", [
    {"bearer_env": "A", "basic_env": "B"}, {"upstream": "http://a:b@h:1", "bearer_env": "A"}, {"ca": "a.pem"},
    {"upstream": "https://h:1", "client_cert": "a.pem"},
], ids=str)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(BadRecipe):
        UpstreamSettings(**{"upstream": "http://127.0.0.1:1", **wrong})


@pytest.mark.parametrize("wrong", [{"bearer_env": "NOT_SET"}, {"basic_file": "none"}])
def test_credentials_that_are_not_there_are_an_error(wrong, tmp_path):
    wrong = {name: tmp_path / value if name.endswith("file") else value for name, value in wrong.items()}
    with pytest.raises(MissingData):
        upstream_at(UpstreamSettings(upstream="http://127.0.0.1:1", **wrong), "toy")


@pytest.mark.parametrize("token", ["s3cr3t\r\nX-Admin: 1", "s3cr3t two", "\u043a\u043b\u044e\u0447"])
def test_a_token_that_is_no_word_is_an_error_that_does_not_show_it(token, monkeypatch):
    monkeypatch.setenv("UPSTREAM", token)
    with pytest.raises(MissingData, match="no header can hold") as wrong:
        upstream_at(UpstreamSettings(upstream="http://127.0.0.1:1", bearer_env="UPSTREAM"), "toy")
    assert token.split()[0] not in str(wrong.value)


class Listener:
    """A call of an upstream's pool that answers with `status`, and keeps methods and paths."""

    def __init__(self, status=200):
        self.status, self.asked = status, []

    async def __call__(self, method, path, *rest, **how):
        self.asked.append(f"{method} {path}")
        return Reply(self.status, {}, b"{}")


NAME = "a/../b?c#d e\u00e9%2f\r\nX: 1"
QUOTED = "/v2/models/a%2F..%2Fb%3Fc%23d%20e%C3%A9%252f%0D%0AX%3A%201"


def test_the_name_of_a_model_is_one_part_of_each_path():
    transport = upstream_at(UpstreamSettings(upstream="http://127.0.0.1:1", upstream_model=NAME), "toy")._transport
    transport._call = called = Listener()
    spec = ModelSpec(NAME, Pixels((1, 2, 2)), "p", 3, (Tensor("x", "FP32", (1, 2, 2)),))

    async def scene():
        await transport.metadata()
        assert await transport.ready()
        with pytest.raises(UnreadableResponse):
            await transport.infer(spec, np.zeros((1, 1, 2, 2), np.float32))

    asyncio.run(scene())
    assert called.asked == ["GET /v2", f"GET {QUOTED}", f"GET {QUOTED}/ready", f"POST {QUOTED}/infer"]
    assert Pool("http://h/a b\u00e9%20c/", connect=1, timeout=1)._prefix == "/a%20b%C3%A9%20c"


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_lines_about_an_upstream_name_the_model_as_it_is_called_here(way, caplog):
    at = UpstreamSettings(upstream=f"{way}://127.0.0.1:1", upstream_model="s3cr3t")
    model = upstream_at(at, "toy")
    if way == "http":
        model._transport._call = Listener(500)

    async def scene():
        with pytest.raises(Unreachable):
            await model.probe()
        model.close()
        await asyncio.sleep(0)

    with caplog.at_level("DEBUG"):
        asyncio.run(scene())
    lines = [it.getMessage() for it in caplog.records if it.name.startswith("feint.")]
    assert any("the upstream of toy answered" in line for line in lines)
    assert "s3cr3t" not in caplog.text


GENEROUS = {
    "null parameters": {"parameters": None},
    "other parameters": {"parameters": {"binary_data_size": None, "note": [1]}},
    "further fields": {"extra": {"deep": [1, None]}, "name": "p"},
    "no shape": {"shape": None},
    "no datatype": {"datatype": None},
}


@pytest.mark.parametrize("name", GENEROUS)
@pytest.mark.parametrize("turned", [False, True])
def test_answers_of_other_servers_are_read(name, turned):
    rows = [[0.2, 0.3, 0.5]]
    output = {"name": "p", "datatype": "FP64", "shape": [1, 3], "data": rows} | GENEROUS[name]
    other = {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["c"], "parameters": None}
    body = {"id": None, "parameters": None, "model_version": None, "outputs": [other, output][:: -1 if turned else 1]}

    def fault(handler):
        import json

        return handler.send(200, json.dumps(body).encode())

    with upstream() as server:
        server.fault, server.extensions = fault, None
        with running(Settings({"toy": UpstreamSettings(upstream=server.url, output="p")}, **ANYBODY)) as gateway:
            reply = httpx2.post(f"{gateway.url}/v2/models/toy/infer", json={"inputs": INPUTS})
        np.testing.assert_allclose(reply.json()["outputs"][0]["data"], rows[0], atol=1e-6)


def asked_at_a_terminal(call):
    """Run a call in a process with a terminal, and return whether it raised `MissingData`, and what was asked there."""
    child, terminal = pty.fork()
    if not child:
        try:
            call()
        except MissingData:
            os._exit(7)
        os._exit(1)
    said = b""
    with contextlib.suppress(OSError):  # the terminal ends with the process
        while select.select([terminal], [], [], 10)[0] and (more := os.read(terminal, 999)):
            said += more
            if b"phrase" in said:
                os.kill(child, signal.SIGKILL)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7, said


@pytest.mark.parametrize("way", ["server", "https", "grpcs"])
def test_no_passphrase_is_asked_for_at_a_terminal(way, tmp_path):
    certificate(tmp_path)
    lock(tmp_path)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def opened():
        if way == "server":
            read_certificate(ServerSettings(tls_cert=cert, tls_key=key))
        else:
            upstream_at(UpstreamSettings(upstream=f"{way}://127.0.0.1:1", client_cert=cert, client_key=key), "toy")

    assert asked_at_a_terminal(opened) == (True, b"")
