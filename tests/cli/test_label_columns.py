"""A column of labels that the owner names is no input, in every command that takes --label."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.load.processes import free_port
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops import io as skops


@pytest.fixture
def owner(tmp_path, monkeypatch):
    """A model of two numbers in three classes, and the rows of its owner, whose label is called "income"."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 2)).round(3)
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)
    skops.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y), "model.skops")
    rows = [f"{a},{b},{label}" for (a, b), label in zip(x, y, strict=True)]
    Path("rows.csv").write_text("\n".join(["age,hours,income", *rows]) + "\n")


@pytest.mark.parametrize(
    "line",
    [
        "mark model.skops --data rows.csv --label income --rehearsals 0 --out marked",
        "controls model.skops --data rows.csv --label income --count 2 --out controls",
    ],
)
def test_the_named_column_is_no_input(run_cli, owner, line):
    code, out, err = run_cli(line)
    assert code == 0, out + err


def test_serve_check_reads_the_named_label(run_cli, owner):
    assert run_cli("inspect model.skops --data rows.csv --label income --out model.toml")[0] == 0
    line = f"serve model.toml --port {free_port()} --grpc-port 0 --check --data rows.csv"
    assert "name it: --label COLUMN" in run_cli(line)[2]
    code, out, err = run_cli(f"{line} --label income")
    assert code == 0, err
    assert "samples, sent by JSON, binary data and gRPC" in out
