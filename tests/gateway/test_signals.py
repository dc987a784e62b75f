"""A gateway that is a process of its own, under load: SIGHUP and SIGTERM drop no request and undefend no answer."""

import json
import os
import signal
import sys
import threading

import grpc
import httpx2
import numpy as np
import pytest
from benchmarks.load.processes import Server, free_port
from tests.support.graph_files import bare, defended, ladder, output_defense, undefended, whole
from tests.support.waiting import eventually

from feint.gateway.telemetry.audit_chain import shipped_heads, verify
from feint.openinference import proto

X = np.random.default_rng(4).random((3, 1, 2, 2), np.float32)
SETTINGS = """
server = {{rest_port = {rest}, grpc_port = {rpc}, drain = 3.0}}
keys = {{anonymous = true}}
ledger = {{store = "sqlite:ledger.db"}}
models.toy = {{{model}}}
"""
MODELS = 'path = "toy.onnx"', 'path = "bare.onnx", outputs = "q.onnx"', 'path = "none.onnx"'
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": list(X.shape), "datatype": "FP32", "data": X.ravel().tolist()}]}
).encode()


INPUTS_OF_5 = [{"name": "x", "shape": [5, 1, 2, 2], "datatype": "FP32", "data": [0.5] * 20}]
BODY_OF_5 = json.dumps({"inputs": INPUTS_OF_5}).encode()


class Load:
    """Threads that ask until they are told to end; what came that is no defended answer is kept in `wrong`."""

    def __init__(self, rest, rpc):
        self.rest, self.rpc, self.ending = rest, rpc, threading.Event()
        self.right, self.wrong = {"rest": 0, "rpc": 0}, []
        self.threads = [threading.Thread(target=it) for it in (self.over_rest, self.over_rest, self.over_rpc)]

    def over_rest(self):
        with httpx2.Client(base_url=f"http://127.0.0.1:{self.rest}", timeout=60) as client:
            while not self.ending.is_set():
                told = client.post("/v2/models/toy/infer", content=BODY)
                self.saw("rest", told.json()["outputs"][0]["data"] if told.status_code == 200 else told.text)

    def over_rpc(self):
        with grpc.insecure_channel(f"127.0.0.1:{self.rpc}") as channel:
            ask = channel.unary_unary(
                f"/{proto.SERVICE}/ModelInfer",
                proto.ModelInferRequest.SerializeToString,
                proto.ModelInferResponse.FromString,
            )
            request = proto.ModelInferRequest(model_name="toy", raw_input_contents=[X.tobytes()])
            request.inputs.add(name="x", datatype="FP32", shape=X.shape)
            while not self.ending.is_set():
                try:
                    self.saw("rpc", np.frombuffer(ask(request, timeout=60).raw_output_contents[0], "<f4"))
                except grpc.RpcError as error:
                    self.saw("rpc", str(error))

    def saw(self, wire, answer):
        expected = defended(undefended(X))
        if not isinstance(answer, str) and np.allclose(np.reshape(answer, (3, 3)), expected, atol=1e-5):
            self.right[wire] += 1
        else:
            self.wrong.append(answer)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.slow
def test_signals_under_load(tmp_path):
    """Settings that change the place of the model, and settings that are wrong; then the end, which a load balancer
    sees before the doors close."""
    whole(tmp_path / "toy.onnx"), bare(tmp_path / "bare.onnx"), output_defense(tmp_path / "q.onnx")
    at = {"rest": free_port(), "rpc": free_port()}
    settings, log = tmp_path / "gateway.toml", tmp_path / "log"
    settings.write_text(SETTINGS.format(model=MODELS[0], **at))
    command = [sys.executable, "-c", "from feint.cli import main; main()", "serve", str(settings)]
    with (
        Server(command, at["rest"], log=log) as server,
        httpx2.Client(base_url=f"http://127.0.0.1:{at['rest']}") as ops,
    ):
        with Load(at["rest"], at["rpc"]) as load:
            for n in range(1, 7):
                read = log.read_text().count("read anew") + log.read_text().count("not taken")
                settings.write_text(SETTINGS.format(model=MODELS[n % 3], **at))
                os.kill(server.pid, signal.SIGHUP)
                eventually(
                    lambda read=read: log.read_text().count("read anew") + log.read_text().count("not taken") > read
                )
                answered = dict(load.right)
                eventually(
                    lambda answered=answered: load.wrong or all(load.right[it] > answered[it] for it in answered)
                )
            os.kill(server.pid, signal.SIGTERM)
            eventually(lambda: ops.get("/v2/health/ready").status_code == 503)
        assert not load.wrong
        assert log.read_text().count("read anew") == 4
        assert server.wait(60) == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_sighup_changes_the_mode_and_keeps_the_ledger(tmp_path):
    """One budget of 12 queries in a ledger in memory, through shadow, enforce and shadow again; every change is entered
    in the audit log, whose file is another one after each SIGHUP. Where no line can be entered no mode changes."""
    ladder(tmp_path / "toy.onnx", access=[{"kind": "Budget", "queries": 12}])
    port, settings, audit = free_port(), tmp_path / "gateway.toml", tmp_path / "audit.jsonl"
    log, statuses = tmp_path / "log", []
    (tmp_path / "key").write_text("0" * 32)

    def write(shadow):
        settings.write_text(
            f"server = {{rest_port = {port}, grpc_port = 0}}\nkeys = {{anonymous = true}}\n"
            f'ledger = {{store = "memory:"}}\noperator = {{audit_log = "{audit.name}", audit_key_file = "key"}}\n'
            f'models.toy = {{path = "toy.onnx", shadow = {str(shadow).lower()}}}\n'
        )

    def reload(shadow, expected):
        write(shadow)
        before = log.read_text().count(expected)
        os.kill(server.pid, signal.SIGHUP)
        eventually(lambda: log.read_text().count(expected) > before)

    def ask():
        statuses.append(httpx2.post(f"http://127.0.0.1:{port}/v2/models/toy/infer", content=BODY_OF_5).status_code)

    write(True)
    command = [sys.executable, "-c", "from feint.cli import main; main()", "serve", str(settings)]
    with Server(command, port, log=log) as server:
        ask()
        audit.rename(tmp_path / "audit.1")
        reload(False, "read anew")
        ask()
        audit.rename(tmp_path / "audit.2")
        reload(True, "read anew")
        ask()
        audit.rename(tmp_path / "audit.3")
        audit.symlink_to("/dev/full")
        reload(False, "not taken")
    assert statuses == [200, 403, 429]  # 5 queries each: of the last 5 only 2 are left
    files = [tmp_path / f"audit.{number}" for number in (1, 2, 3)]
    entered = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [line["action"] for line in entered] == [
        "gateway started", "rung", "mode enforce", "settings taken", "refused",
        "mode shadow", "settings taken", "refused",
    ]  # fmt: skip
    assert verify(files, key="0" * 32, heads=shipped_heads([log])).head.number == 7
