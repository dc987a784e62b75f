"""Other people's clients talk to the gateway, each from an environment of its own."""

import subprocess
from pathlib import Path

import pytest
from tests.gateways import Straight, calling, gateway, running

from feint.errors import OverBudget
from feint.gateway.gateway import Limits

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "interop" / "bin" / "python"
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no .venv/interop: make .venv/interop")


def stranger(script: str, *arguments: str) -> str:
    """What a client's script says; it runs where the project is not."""
    command = [PYTHON, "-I", ROOT / "tests" / "strangers" / script, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.strip()


def refuse(asked, account):
    raise OverBudget(f"{len(asked)} queries", "none", "ask for more")


@pytest.fixture
def served():
    both = gateway(limits=Limits(batch=8))
    both.desks["dear"] = gateway(Straight(admit=refuse), names=("dear",)).desks["dear"]
    return both


def test_tritonclient_in_every_mix_of_json_and_binary(served):
    with running(served) as url, calling(served) as address:
        assert stranger("triton.py", url.removeprefix("http://"), address, "k") == "21 8"


def test_open_inference_openapi(served):
    with running(served) as url:
        assert stranger("openapi_client.py", url, "k") == "ok"
