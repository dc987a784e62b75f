"""From a service to a server: `feint export`, `feint serve` in another process, `feint.connect`."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import feint
from feint import export
from feint.defenses.access import Budget
from feint.defenses.outputs import APGP, Marked
from feint.defenses.served_mark import ROWS as ROWS_OF_MARKS
from feint.errors import OverBudget
from feint.ownership.mark import load_marks
from feint.victims import save

ROWS = 40


def free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@contextmanager
def served(file: Path) -> Iterator[tuple[subprocess.Popen, list[str], str]]:
    """Yield the process of `feint serve FILE`, its URLs, and the key that it prints."""
    rest, rpc = free_ports(2)
    command = [sys.executable, "-c", "from feint.cli import main; main()", "serve", str(file)]
    command += ["--port", str(rest), "--grpc-port", str(rpc)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout or ())
            assert any(line.startswith(f"serving http://127.0.0.1:{rest}") for line in lines)
            assert any(line.startswith("API key") for line in lines)
            yield process, [f"http://127.0.0.1:{rest}", f"grpc://127.0.0.1:{rpc}"], next(lines).strip()
        finally:
            process.kill()  # nothing, where it has ended


@pytest.mark.slow
def test_a_service_is_exported_served_and_asked_without_torch(victim, answers, digits, tmp_path):
    defense = feint.Defense(access=[Budget(2 * ROWS)], outputs=[APGP(top=1, steps=60).fit_answers(answers)])
    service, x = feint.Service(victim, defense), digits.test.inputs(slice(0, ROWS))
    written = export.onnx(service, tmp_path / "digits.onnx", inputs=x)
    expected = service(feint.Query(x, client="here")).p
    with served(written.path) as (process, urls, key):
        for url in urls:
            p = feint.connect(url, model="digits", keys=[key], budget=ROWS).ask(x)
            assert (p - expected).abs().max() <= 1e-5, url
            assert torch.equal(p.argmax(-1), expected.argmax(-1)), url
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "onnxruntime" in loaded
        assert "libtorch" not in loaded
        with pytest.raises(OverBudget):  # the file holds the rule
            feint.connect(urls[0], model="digits", keys=[key], budget=1).ask(x[:1])
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=10)
    assert process.returncode == 0, complaints
    assert complaints.splitlines() == [line for line in complaints.splitlines() if line.startswith("feint: mind: ")]


MARKED = """
[server]
rest_port = {rest}
grpc_port = 0

[keys]
anonymous = true

[ledger]
store = "sqlite:ledger.db"

[models.digits]
path = "digits.onnx"
mark_key_file = "mark.key"
"""


@pytest.mark.slow
def test_marked_answers_are_exported_served_recorded_and_read_as_a_mark(run_cli, victim, digits, tmp_path):
    save("victim", victim)
    Path("mark.key").write_text("the owner's secret\n")
    defense = feint.Defense(outputs=[Marked("the owner's secret", rate=0.2)])
    code, out, err = run_cli(
        'export victim --defense "Marked(\\"the owner\'s secret\\", rate=0.2)" --for gateway --out digits.onnx'
    )
    assert code == 0, out + err
    assert "the owner's secret" not in out
    x, (rest,) = digits.test.inputs(slice(0, ROWS)), free_ports(1)
    Path("gateway.toml").write_text(MARKED.format(rest=rest))
    here = feint.Service(victim, defense)
    expected = here(feint.Query(x, client="anonymous")).p
    command = [sys.executable, "-c", "from feint.cli import main; main()", "serve", "gateway.toml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert any("serving http" in json.loads(line).get("message", "") for line in process.stdout or ())
            p = feint.connect(f"http://127.0.0.1:{rest}", model="digits", budget=ROWS).ask(x)
            assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
        finally:
            process.terminate()
    assert (p - expected).abs().max() <= 1e-5
    assert torch.equal(p.argmax(-1), expected.argmax(-1))
    code, out, err = run_cli("ledger marks gateway.toml --out served")
    assert code == 0, out + err
    (mark,) = load_marks(tmp_path / "served").values()
    assert mark.accounts == ("anonymous",)
    assert len(mark) == len(here.ledger["anonymous"].rows(ROWS_OF_MARKS)) > 0
    assert set(mark.labels.tolist()) <= set(expected.argmax(-1).tolist())
