"""A column of labels that the owner names is no input, in every command that takes --label."""

from pathlib import Path

import numpy as np
import pandas as pd
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


@pytest.mark.parametrize("name", ["class", "label", "Target", "y"])
def test_a_feature_with_the_name_of_a_label_is_said(run_cli, tmp_path, name):
    random = np.random.default_rng(0)
    x = pd.DataFrame(random.normal(size=(120, 2)).round(3), columns=["age", name])
    risk = np.where(x[name] > 0, "high", "low")
    skops.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(x, risk), tmp_path / "model.skops")
    codes = x.assign(risk=risk, **{name: (x[name] > 0).astype(int)})
    codes.to_csv(tmp_path / "rows.csv", index=False)
    code, _, err = run_cli("inspect model.skops --data rows.csv")
    assert code == 2
    assert f"name the column of the label: --label COLUMN, as the model takes {name!r}" in err
    assert run_cli("inspect model.skops --data rows.csv --label risk")[0] == 0


def test_columns_that_are_spelled_otherwise_are_matched_and_said_by_every_command(run_cli, tmp_path):
    random = np.random.default_rng(0)
    x = pd.DataFrame(random.normal(size=(240, 2)).round(3), columns=["age", "net income"])
    risk = np.where(x["age"] > 0, "high", "low")
    skops.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(x, risk), tmp_path / "model.skops")
    x.assign(label=risk).rename(columns={"age": "AGE", "net income": "Net_Income"}).to_csv("rows.csv", index=False)
    said = "Columns matched apart from case and punctuation: 'AGE = age', 'Net_Income = net income'."
    for line in ("inspect model.skops", "audit model.skops --defense LabelOnly --minutes 0.01"):
        code, out, err = run_cli(f"{line} --data rows.csv")
        assert code in (0, 3), err
        assert said in " ".join((out + err).split())


def test_a_table_without_a_header_needs_one(run_cli, owner):
    rows = Path("rows.csv").read_text().splitlines(keepends=True)[1:]
    Path("bare.csv").write_text("".join(f"clerk,{row}" for row in rows))
    code, _, err = run_cli("inspect model.skops --data bare.csv")
    assert code == 2
    assert "name it: --label COLUMN, or write a header, if these are values" in err


def test_a_word_among_numbers_is_named_by_its_column(run_cli, tmp_path):
    random = np.random.default_rng(0)
    x = pd.DataFrame(random.normal(size=(120, 2)).round(3), columns=["age", "hours"])
    risk = np.where(x.age > 0, "high", "low")
    skops.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(x, risk), tmp_path / "model.skops")
    words = [value if i != 3 else "n. k." for i, value in enumerate(x.hours)]
    x.assign(hours=words, risk=risk).to_csv(tmp_path / "rows.csv", index=False)
    code, _, err = run_cli("inspect model.skops --data rows.csv --label risk")
    assert code == 2
    assert "'n. k.'), in the column 'hours'; expected inputs that model.skops takes" in err


def test_serve_check_reads_the_named_label(run_cli, owner):
    assert run_cli("inspect model.skops --data rows.csv --label income --out model.toml")[0] == 0
    line = f"serve model.toml --port {free_port()} --grpc-port 0 --check --data rows.csv"
    assert "name it: --label COLUMN" in run_cli(line)[2]
    code, out, err = run_cli(f"{line} --label income")
    assert code == 0, err
    assert "samples, sent by JSON, binary data and gRPC" in out
