"""Audits with short trainings and small budgets, from the command line."""

import sys

import pytest
from tests.support.audits import shorten, skip_report

from feint import victims
from feint.attacks import Surrogate
from feint.audit import attacker
from feint.models.networks import Network
from feint.models.training import Training


@pytest.fixture
def run_cli(run_cli, monkeypatch, tmp_path):
    """Run an audit with short trainings and small budgets in an empty directory; its exit code and both streams."""
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))  # or a server on the same port would seem to be known
    monkeypatch.setattr(sys, "path", list(sys.path))
    quick = Training(epochs=3, least_steps=100, batch_size=32, learning_rate=0.05)
    shorten(monkeypatch)
    skip_report(monkeypatch)
    monkeypatch.setattr(attacker, "contenders", lambda _, domain, k: [Surrogate(Network("mlp", domain, k), quick)])
    return lambda line: run_cli(f"audit {line}")


@pytest.fixture
def model(run_cli, victim):
    """The victim's directory, beside which the audit runs."""
    victims.save("victim", victim)
    return run_cli
