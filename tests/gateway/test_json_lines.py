"""A gateway of a settings file writes JSON lines alone: start, worker, failure, reload and end."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from benchmarks.load.processes import Server, free_port
from tests.support.graph_files import whole
from tests.support.waiting import eventually

MAIN = "from feint.cli import main; main()"
# A library of the process that writes what it likes, as torch, asyncio and OpenTelemetry do.
NOISY = f"""
import logging, sys, threading, warnings
from feint.gateway.server import run

def noise(running, started):
    warnings.warn("a warning")
    logging.getLogger("somebody").error("another's logger")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    started(running)

serve = run.run
run.run = lambda make, started: serve(make, started=lambda running: noise(running, started))
{MAIN}
"""


@pytest.fixture
def folder(tmp_path):
    whole(tmp_path / "toy.onnx")
    return tmp_path


def settings(folder, *, store="sqlite:ledger.db", log="info"):
    port, file = free_port(), folder / "gateway.toml"
    file.write_text(
        f"server = {{rest_port = {port}, grpc_port = 0}}\nkeys = {{anonymous = true}}\n"
        f"ledger = {{store = '{store}'}}\noperator = {{log = '{log}'}}\nmodels.toy = {{path = 'toy.onnx'}}\n"
    )
    return port, file


def command(file, *options, code=MAIN):
    return [sys.executable, "-c", code, "serve", str(file), *options]


def messages(text):
    """The messages of lines all of which are JSON, as the fields of the Elastic Common Schema have them."""
    return [(line["log"]["level"], line.get("message", "")) for line in map(json.loads, text.splitlines())]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "code"), [((), NOISY), (("--workers", "2"), MAIN)], ids=["one process", "workers"])
def test_from_start_to_end_every_line_is_json(folder, options, code):
    port, file = settings(folder, log="error")
    last = f"{options[1]} workers" if options else "serving"
    with Server(command(file, *options, code=code), port, log=folder / "log") as server:
        eventually(lambda: last in (folder / "log").read_text())
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"no HTTP\r\n\r\n")
            with suppress(ConnectionResetError):
                stranger.recv(1000)
        file.write_text("nothing")
        os.kill(server.pid, signal.SIGHUP)
        eventually(lambda: "not taken" in (folder / "log").read_text())
        if options:
            (child, *_) = (int(pid) for pid in children(server.pid) if b"spawn_main" in name(pid))
            os.kill(child, signal.SIGKILL)
            eventually(lambda: "is replaced" in (folder / "log").read_text())
    lines = messages((folder / "log").read_text())
    begun = [message for _, message in lines]
    assert any(message.startswith("model toy: x FP32") for message in begun)  # whatever the level
    assert any(message.startswith("serving http://127.0.0.1") for message in begun) or options
    if not options:
        assert {"another's logger"} < {message for level, message in lines if level == "error"}
        assert any(message.startswith("ZeroDivisionError at") for message in begun)


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def name(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--port", "1")], ids=["one", "workers", "options"])
def test_a_start_that_fails_says_so_in_json(folder, options):
    _, file = settings(folder, store="sqlite:none/ledger.db")
    done = subprocess.run(command(file, *options), capture_output=True, text=True, timeout=120)
    ((level, message),) = messages(done.stdout + done.stderr)
    assert (done.returncode, level) == (2, "error")
    assert message.startswith("got ")
    assert "; expected " in message
