"""The gateway on Ray Serve, from an environment of its own: two replicas on a local cluster, one ledger."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.load.processes import free_port
from tests.support.graph_files import whole
from tests.support.redis_servers import redis_server

pytestmark = [pytest.mark.interop, pytest.mark.redis, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "ray-serve" / "bin" / "python"
SETTINGS = """
[keys]
file = "keys.db"
[ledger]
store = "{url}"
[operator]
log = "error"
[models.toy]
path = "toy.onnx"
access = ["Budget(25)"]
"""


@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv/ray-serve: make .venv/ray-serve")
def test_two_replicas_decide_as_one(tmp_path):
    whole(tmp_path / "toy.onnx")
    with redis_server(tmp_path) as redis:
        (tmp_path / "gateway.toml").write_text(SETTINGS.format(url=redis.url))
        feint = [sys.executable, "-c", "from feint.cli import main; main()"]
        key = subprocess.run([*feint, "keys", "add", "ann"], cwd=tmp_path, capture_output=True, text=True, check=True)
        given = [ROOT / "tests/interop/ray_gateway.py", tmp_path / "gateway.toml", free_port(), key.stdout.strip()]
        done = subprocess.run([PYTHON, *map(str, given)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (told,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]  # Ray says much else
    assert told == {"replicas": {"RUNNING": 2}, "answered": 25, "refused": 35, "all": 60}


def test_replicas_with_a_ledger_each_are_refused(tmp_path, monkeypatch):
    from feint.errors import BadRecipe
    from feint.gateway.server import ray

    monkeypatch.setattr(ray, "require", lambda package, extra: None)
    whole(tmp_path / "toy.onnx")
    (tmp_path / "gateway.toml").write_text(SETTINGS.format(url="sqlite:ledger.db"))
    with pytest.raises(BadRecipe, match="one in Redis"):
        ray.deployment(tmp_path / "gateway.toml")
