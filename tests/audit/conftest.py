"""Audits with short trainings and small budgets, from the command line."""

import sys

import pytest

from feint import victims
from feint.attacks import Surrogate
from feint.audit import attacker, output, plan, promise
from feint.models.networks import Network
from feint.models.training import Training


@pytest.fixture
def run_cli(run_cli, monkeypatch, tmp_path):
    """Run an audit with short trainings and small budgets in an empty directory; its exit code and both streams."""
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))  # or a server on the same port would seem to be known
    monkeypatch.setattr(sys, "path", list(sys.path))
    quick = Training(epochs=3, least_steps=100, batch_size=32, learning_rate=0.05)
    monkeypatch.setattr(plan, "BUDGETS", (20, 40, 80))
    monkeypatch.setattr(plan, "OVERHEAD", 1e6)  # a slow machine: the least plan is made, whatever runs beside
    monkeypatch.setattr(attacker, "ROWS", 80)
    for name, number in {"ATTACKERS": 10, "CLIENTS": 10, "LENGTH": 200, "SLICED": 50}.items():
        monkeypatch.setattr(promise, name, number)
    monkeypatch.setattr(attacker, "contenders", lambda _, domain, k: [Surrogate(Network("mlp", domain, k), quick)])
    monkeypatch.setattr(output.report, "write", lambda path, *_, **__: path.write_text("a page of its own"))
    return lambda line: run_cli(f"audit {line}")


@pytest.fixture
def model(run_cli, victim):
    """The victim's directory, beside which the audit runs."""
    victims.save("victim", victim)
    return run_cli
