"""Environments of other people's packages, made by `make .venv/NAME`: what needs one is skipped where it is missing."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(name: str, command: str) -> Path:
    """The path of a command of an environment; skips where there is none."""
    path = ROOT / ".venv" / name / "bin" / command
    if not path.exists():
        pytest.skip(f"no .venv/{name}: make .venv/{name}")
    return path


def run_script(name: str, script: str, *arguments: str) -> str:
    """What a script says; it runs where the project is not."""
    command = [tool(name, "python"), "-I", ROOT / "tests" / "interop" / script, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.strip()
