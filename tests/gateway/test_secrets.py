"""Secrets never leave: planted in every setting, they are in no output, log, metric, page, error or audit log."""

import os
import signal
import sys

import httpx2
import pytest
from benchmarks.load.processes import Server, free_port
from tests.support.graph_files import whole
from tests.support.upstreams import upstream
from tests.support.waiting import eventually

from feint.gateway.auth.keyfile import Keys
from feint.gateway.redaction import address, redacted

SECRET = "s3cr3t"
URLS = {
    f"redis://:{SECRET}@10.0.0.1:6379/0": "redis://10.0.0.1:6379/0",
    f"redis://{SECRET}@10.0.0.1": "redis://10.0.0.1",
    f"rediss://user:{SECRET}@host/2": "rediss://host/2",
    f"redis://host:1/0?password={SECRET}": "redis://host:1/0",
    f"redis://host:1/0?password=a@{SECRET}": "redis://…",
    f"redis://user:{SECRET}?{SECRET}@host": "redis://…",
    f"redis://user:{SECRET}/{SECRET}@host": "redis://…",
    f"redis://user:{SECRET}#{SECRET}@host": "redis://…",
    f"redis://user:a@{SECRET}@host": "redis://host",
    f"redis:{SECRET}@host": "redis:host",
    f"unix://user:{SECRET}@/run/{SECRET}/redis.sock": "unix://",
    f"http://{SECRET}@host:80/{SECRET}": "http://host:80",
    f"https://[::1]:8443/{SECRET}?token={SECRET}": "https://[::1]:8443",
    f"grpc://user:{SECRET}@host:81": "grpc://host:81",
    f"sqlite:/srv/{SECRET}/ledger.db": "sqlite:ledger.db",
    "memory:": "memory:",
}


@pytest.mark.parametrize("url", URLS)
def test_an_address_has_no_secret(url):
    assert address(url) == URLS[url]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"the store redis://:{SECRET}@h:1/0, and more", "the store redis://h:1/0, and more"),
        (f"got '/srv/{SECRET}/a.pem'; expected", "got 'a.pem'; expected"),
        (f'File "/{SECRET}/site-packages/x.py", line 3', 'File "x.py", line 3'),
        (f"key feint_0123456789ab_{SECRET}", "key feint_0123456789ab_…"),
        (f"Authorization: Bearer {SECRET}{SECRET}", "Authorization: Bearer …"),
        ("ask /v2/models of http://h:1, or wait", "ask /v2/models of http://h:1, or wait"),
        ("rate 3/s, and/or", "rate 3/s, and/or"),
        (f"with url: /v1/traces?token={SECRET}&x={SECRET} (Caused", "with url: traces (Caused"),
    ],
)
def test_a_text_has_no_secret(text, expected):
    assert redacted(text) == expected


STARTS = {
    "ledger": f"ledger = {{store = 'redis://:{SECRET}@127.0.0.1:1/0'}}\nmodels.toy = {{path = 'toy.onnx'}}",
    "port of a ledger": f"ledger = {{store = 'redis://127.0.0.1:{SECRET}'}}\nmodels.toy = {{path = 'toy.onnx'}}",
    "option of a ledger": f"ledger = {{store = 'redis://h:1/0?{SECRET}=1'}}\nmodels.toy = {{path = 'toy.onnx'}}",
    "ledger without slashes": f"ledger = {{store = 'redis:{SECRET}'}}\nmodels.toy = {{path = 'toy.onnx'}}",
    "table of a ledger": f"ledger = '{SECRET}'\nmodels.toy = {{path = 'toy.onnx'}}",
    "token for a variable": f"models.toy = {{upstream = 'http://127.0.0.1:1', bearer_env = '{SECRET}'}}",
    "login for a variable": f"models.toy = {{upstream = 'http://127.0.0.1:1', basic_env = 'user:{SECRET}'}}",
    "key for a variable": f"operator = {{audit_log='a', audit_key_env = '{SECRET}'}}\nmodels.x = {{path = 'toy.onnx'}}",
    "list of tokens": f"models.toy = {{upstream = 'http://127.0.0.1:1', bearer_env = ['{SECRET}']}}",
    "space before a URL": f"models.toy = {{upstream = ' http://user:{SECRET}@127.0.0.1:1'}}",
    "another store": f"ledger = {{store = 'nothing://:{SECRET}@host'}}\nmodels.toy = {{path = 'toy.onnx'}}",
    "scheme": f"models.toy = {{upstream = 'ftp://user:{SECRET}@host'}}",
    "port": f"models.toy = {{upstream = 'http://user:{SECRET}@host:99999'}}",
    "model": "models.toy = {path = 'none.onnx'}",
    "damaged": "models.toy = {path = 'gateway.toml'}",
    "keys": "keys = {file = 'none.db'}\nmodels.toy = {path = 'toy.onnx'}",
    "certificate": "server = {tls_cert = 'none', tls_key = 'none'}\nmodels.toy = {path = 'toy.onnx'}",
    "credentials": "models.toy = {upstream = 'http://127.0.0.1:1', basic_file = 'none'}",
    "audit log": "operator = {audit_log = 'a', audit_key_file = 'none'}\nmodels.toy = {path = 'toy.onnx'}",
    "authority": "models.toy = {upstream = 'https://127.0.0.1:1', ca = 'none'}",
}  # fmt: skip


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
@pytest.mark.parametrize("name", STARTS)
def test_a_start_that_fails_tells_no_secret(name, relative, tmp_path, run_cli):
    folder = tmp_path / SECRET
    folder.mkdir()
    whole(folder / "toy.onnx")
    anybody = "" if name == "keys" else "keys = {anonymous = true}\n"
    (folder / "gateway.toml").write_text(anybody + STARTS[name] + "\n")
    code, out, error = run_cli(f"serve {SECRET if relative else folder}/gateway.toml --check")
    assert code == 2
    assert error.startswith("feint: got ")
    assert SECRET not in out + error


@pytest.mark.slow
def test_planted_secrets_are_nowhere(tmp_path):
    """Through start, refused and failed requests, reloads that are taken and that are not, and the end."""
    folder = tmp_path / SECRET
    folder.mkdir()
    whole(folder / "toy.onnx")
    key, _ = Keys(folder / "keys.db", new=True).add("ann", roles=("infer", "metrics", "admin"))
    (folder / "token").write_text(f"{SECRET}-token")
    (folder / "audit.key").write_text(f"{SECRET}-key-of-the-audit-log")
    rest, log = free_port(), tmp_path / "log"
    file, audit = folder / "gateway.toml", folder / "audit.jsonl"
    with upstream() as server:
        at = server.url.replace("http://", f"http://{SECRET}:{SECRET}@")

        def write(ledger="sqlite:ledger.db", remote=at, more=""):
            file.write_text(
                f"server = {{rest_port = {rest}, grpc_port = 0}}\nkeys = {{file = 'keys.db'}}\n"
                f"ledger = {{store = '{ledger}'}}\n"
                f"operator = {{audit_log = '{audit.name}', audit_key_file = 'audit.key', log = 'debug'}}\n"
                f"models.toy = {{path = 'toy.onnx'}}\n"
                f"models.a = {{upstream = '{remote}', upstream_model = 'toy', output = 'p'}}\n"
                f"models.b = {{upstream = '{server.url}', upstream_model = 'toy', output = 'p', "
                f"bearer_file = 'token'}}\n" + more
            )

        write()
        command = [sys.executable, "-c", "from feint.cli import main; main()", "serve", str(file)]
        with Server(command, rest, log=log) as process:
            pages = []
            with httpx2.Client(base_url=f"http://127.0.0.1:{rest}", headers={"Authorization": f"Bearer {key}"}) as ops:

                def look():
                    for path in ("/v2", "/v2/models/a", "/metrics", "/ui", "/openapi.json", "/v2/nothing"):
                        pages.append(ops.get(path).text)
                    for name in ("toy", "a", "b"):
                        pages.append(ops.post(f"/v2/models/{name}/infer", content=b"{").text)
                    pages.append(httpx2.get(f"{ops.base_url}/metrics").text)

                def reload(expected):
                    before = log.read_text().count(expected)
                    os.kill(process.pid, signal.SIGHUP)
                    eventually(lambda: log.read_text().count(expected) > before)
                    look()

                look()
                reload("read anew")
                for change in (
                    {"ledger": f"redis://:{SECRET}@127.0.0.1:1/0"}, {"ledger": f"nothing://:{SECRET}@x"},
                    {"remote": f"ftp://{SECRET}@x"}, {"more": f"models.c = {{path = '{SECRET}/none.onnx'}}\n"},
                    {"more": f"models.c = {{upstream = '{server.url}', basic_file = '{SECRET}/none'}}\n"},
                ):  # fmt: skip
                    write(**change)
                    reload("not taken")
                server.fault = lambda handler: handler.send(500, SECRET.encode())
                for name in ("a", "b"):
                    tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [0.5] * 4}
                    pages.append(ops.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}).text)
                look()
    everything = "\n".join([*pages, log.read_text(), audit.read_text()])
    assert SECRET not in everything
    assert key.split("_", 2)[2] not in everything
    assert "read anew" in everything
