"""`feint serve --workers`: one gateway in several processes, which end, reload and stop alone or together."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from benchmarks.load.processes import Server, free_port
from tests.support.graph_files import whole
from tests.support.waiting import eventually

from feint.errors import BadInput
from feint.gateway.auth.keyfile import Keys
from feint.gateway.server.workers import SPAWN, Supervisor, Worker

SERVE = sys.executable, "-c", "from feint.cli import main; main()", "serve"
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": [0.5] * 4}]})
SETTINGS = """
server = {{rest_port = {port}, grpc_port = {grpc}}}
keys = {{anonymous = true, file = "keys.db"}}
ledger = {{store = "{store}"}}
models.toy = {{path = "toy.onnx", access = ["Budget(20)"]}}
"""


class Gateway:
    """Gateway with two workers, in a folder of its own."""

    def __init__(self, room: Path) -> None:
        whole(room / "toy.onnx")
        self.port, self.grpc, self.settings, self.log = free_port(), free_port(), room / "gateway.toml", room / "log"
        self.key, _ = Keys(room / "keys.db", new=True).add("prometheus", roles=["metrics"])
        self.write("sqlite:ledger.db")
        self.server = Server([*SERVE, str(self.settings), "--workers", "2"], self.port, log=self.log)

    def write(self, store: str) -> None:
        self.settings.write_text(SETTINGS.format(port=self.port, grpc=self.grpc, store=store))

    def logged(self, text: str) -> int:
        return self.log.read_text().count(text)

    def ask(self) -> int:
        """Return the status of a request on a connection of its own."""
        return httpx2.post(f"http://127.0.0.1:{self.port}/v2/models/toy/infer", content=BODY, timeout=60).status_code

    def counted(self, outcome: str) -> float:
        """Return the number of requests with this outcome in the metrics."""
        headers = {"Authorization": f"Bearer {self.key}"}
        text = httpx2.get(f"http://127.0.0.1:{self.port}/metrics", headers=headers, timeout=60).text
        numbers = re.findall(rf'^feint_requests_total{{model="toy",outcome="{outcome}"}} (.*)$', text, re.MULTILINE)
        return float(numbers[0]) if numbers else 0.0

    def metrics_files(self) -> set[Path]:
        environment = Path(f"/proc/{min(self.workers())}/environ").read_bytes().split(b"\0")
        (directory,) = [entry.partition(b"=")[2] for entry in environment if entry.startswith(b"PROMETHEUS")]
        return set(Path(directory.decode()).iterdir())

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        return {int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


@pytest.fixture
def gateway(tmp_path):
    gateway = Gateway(tmp_path)
    with gateway.server:
        eventually(lambda: gateway.logged("2 workers"))
        yield gateway


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
def test_workers_have_one_ledger_and_one_account_of_requests(gateway):
    statuses = [gateway.ask() for _ in range(24)]
    assert statuses == [200] * 20 + [429] * 4
    eventually(lambda: (gateway.counted("answered"), gateway.counted("refused")) == (20, 4))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_what_it_counted_stays(gateway):
    before, statuses = gateway.workers(), [gateway.ask() for _ in range(8)]
    killed = min(before)
    eventually(lambda: gateway.counted("answered") == 8)  # a worker counts many requests at once, 0.05 s later at most
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: gateway.logged("and is replaced") and gateway.logged(" serves"))
    assert len(gateway.workers()) == 2
    assert killed not in gateway.workers()
    statuses += [gateway.ask() for _ in range(16)]
    assert statuses == [200] * 20 + [429] * 4
    eventually(lambda: (gateway.counted("answered"), gateway.counted("refused")) == (20, 4))


@pytest.mark.slow
def test_workers_that_end_leave_no_files_of_metrics(gateway):
    before, killed = gateway.metrics_files(), gateway.workers()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: gateway.logged(" serves") == 2)
    assert not killed & gateway.workers()
    assert gateway.metrics_files() == before


@pytest.mark.slow
def test_all_workers_reload_and_none_takes_a_ledger_of_its_own(gateway):
    os.kill(gateway.server.pid, signal.SIGHUP)
    eventually(lambda: gateway.logged("read anew") == 2)
    gateway.write("memory:")
    os.kill(gateway.server.pid, signal.SIGHUP)
    eventually(lambda: gateway.logged("not taken: got a ledger in memory") == 2)
    assert [gateway.ask() for _ in range(21)] == [200] * 20 + [429]


@pytest.mark.slow
def test_a_worker_that_cannot_start_has_ended_once_its_error_is_told(tmp_path):
    """Its pipe closes before the process ends, which was told as one more error."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=time.sleep, args=(0.5,))
    process.start()
    theirs.send(BadInput("no model", "one", "make it"))
    theirs.close()
    Supervisor(tmp_path / "gateway.toml", 1)._report(0, Worker(process, ours, 0.0))
    assert not process.is_alive()


def test_sigterm_stops_all(gateway):
    workers = gateway.workers()
    os.kill(gateway.server.pid, signal.SIGTERM)
    assert gateway.server.wait(60) == 0
    assert not any(map(alive, workers))
    assert not gateway.logged("Traceback")


@pytest.mark.slow
def test_without_their_supervisor_the_workers_stop(gateway):
    workers, files = gateway.workers(), gateway.metrics_files()
    gateway.server.kill()
    eventually(lambda: not any(map(alive, workers)))
    assert not any(file.exists() for file in files)


def refusal(*arguments: str) -> str:
    done = subprocess.run([*SERVE, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert not done.stderr
    return json.loads(done.stdout)["message"]


@pytest.mark.slow
def test_a_ledger_in_memory_is_refused_with_a_remedy(tmp_path):
    gateway = Gateway(tmp_path)
    gateway.write("memory:")
    assert 'set store = "sqlite:ledger.db"' in refusal(str(gateway.settings), "--workers", "2")


@pytest.mark.slow
def test_the_error_of_a_worker_that_cannot_start_is_that_of_the_command(tmp_path):
    gateway = Gateway(tmp_path)
    (tmp_path / "toy.onnx").write_bytes(b"no graph")
    assert "the model toy" in refusal(str(gateway.settings), "--workers", "2")


def test_workers_are_those_of_a_settings_file(tmp_path, run_cli):
    whole(tmp_path / "toy.onnx")
    code, _, error = run_cli(f"serve {tmp_path}/toy.onnx --workers 2")
    assert (code, "a settings file" in error) == (2, True)


@contextlib.contextmanager
def starting(room: Path, *options: str):
    """A gateway that is about to start, as it waits for the key of its audit log, and what lets it go on."""
    gateway, key = Gateway(room), room / "audit.key"
    with gateway.settings.open("a") as file:
        file.write('operator = {audit_log = "audit.jsonl", audit_key_file = "audit.key"}\n')
    os.mkfifo(key)
    with gateway.log.open("wb") as log:
        process = subprocess.Popen([*SERVE, str(gateway.settings), *options], stdout=log, stderr=log)
    pipes = list[int]()

    def is_read() -> bool:
        """Whether the gateway reads the pipe, which is open then."""
        assert process.poll() is None
        with contextlib.suppress(OSError):
            pipes.append(os.open(key, os.O_WRONLY | os.O_NONBLOCK))
        return bool(pipes)

    def go_on() -> None:
        key.unlink()
        key.write_text("k" * 16)
        os.write(pipes[0], b"k" * 16)
        os.close(pipes[0])

    try:
        eventually(is_read)
        yield gateway, process, go_on
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_reload_that_comes_while_a_gateway_starts_does_not_end_it(tmp_path):
    with starting(tmp_path) as (gateway, process, go_on):
        process.send_signal(signal.SIGHUP)
        go_on()
        eventually(lambda: gateway.logged("serving http") or process.poll() is not None)
        assert gateway.ask() == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_workers_that_are_stopped_while_they_start_are_no_error(tmp_path):
    with starting(tmp_path, "--workers", "2") as (gateway, process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert gateway.logged("stopped before all workers served") == 1
        assert not gateway.logged('"level":"error"')
