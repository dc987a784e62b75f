"""Models of strangers, from their files to an answer over HTTP: inspect, audit, fit, serve, and another client."""

import asyncio
import contextlib
import json
import math
import re
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.load.processes import Server, free_port
from tests.interop.environments import ROOT, run_script, tool
from tests.support.audits import shorten, skip_report
from tests.support.gateways import ANYBODY, running
from tests.support.strangers import BUILDERS, Stranger
from tests.support.waiting import eventually

from feint import victims
from feint.cli.common import load_victim
from feint.data import Split
from feint.data.files import samples_at
from feint.gateway.server.bootstrap import load
from feint.gateway.settings import Settings, TorchSettings
from feint.signature import Columns, Domain, Text

pytestmark = [pytest.mark.slow, pytest.mark.interop]
ROWS = 100  # that a client sends


def inspected(stranger: Stranger, run_cli, path: Path) -> Path:
    """Inspect a stranger's model, and return the path of its model.toml."""
    line = f"inspect {stranger.model} --data {stranger.data} --out {path}/model.toml {stranger.options}"
    with warnings.catch_warnings(action="ignore"):  # of their own libraries
        code, _, error = run_cli(line)
    assert code == 0, error
    return path / "model.toml"


def audited(path: Path, data: Path, run_cli, folder: Path, options: str = "") -> tuple[dict[str, Any], str]:
    """Audit a model, and return the JSON with the words of the page."""
    line = f"audit {path} --data {data} --minutes 0.02 --defense LabelOnly --json --out {folder}/audit {options}"
    code, out, error = run_cli(line)
    assert code in (0, 3), error  # 3: nothing is known after so few minutes
    page = (folder / "audit" / "audit.html").read_text()
    return json.loads(out), error + re.sub(r"<style.*?</style>|<svg.*?</svg>", "", page, flags=re.S)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_is_inspected_audited_defended_and_served_to_a_client(
    name, stranger_of, run_cli, tmp_path, monkeypatch
):
    shorten(monkeypatch)
    skip_report(monkeypatch)
    stranger = stranger_of(name)
    path = inspected(stranger, run_cli, tmp_path)
    report, words = audited(path, stranger.data, run_cli, tmp_path)
    assert report["model"]["accuracy"] == pytest.approx(stranger.accuracy, abs=0.08)  # a third of the samples judges
    assert {theft["queries"] for theft in report["thefts"]} == {20, 40}
    assert stranger.noun in words
    assert stranger.noun == "images" or not re.search(r"\b(image|pixel)s?\b", words)
    model = victims.load_any(path)
    samples = samples_at(str(stranger.data), model.domain, classes=model.class_names).split
    assert model.domain.noun == stranger.noun
    labels = victims.answers(model, samples).argmax(-1)
    right = (labels == samples.labels).double().mean().item()
    assert right == pytest.approx(stranger.accuracy, abs=0.011)  # equal files count once, and long texts are cut
    answered = defended(path, stranger.data, model.domain, samples, right, run_cli, tmp_path)
    assert (answered.argmax(1) == labels[:ROWS].numpy()).mean() >= 0.99


def defended(
    path: Path,
    data: Path,
    domain: Domain,
    samples: Split,
    right: float,
    run_cli,
    folder: Path,
    ceiling: int | None = None,
) -> np.ndarray:
    """Fit a defense, serve the model behind it, and return what a client gets for the first samples."""
    calls = f" --max-calls {ceiling}" if ceiling else ""
    line = f"fit 'APGP(top=1, steps=100)' --victim {path} --data {data} --out {folder}/fitted{calls}"
    code, _, error = run_cli(line)
    assert code == 0, error
    calls = f" --max-calls-per-day {ceiling}" if ceiling else ""
    code, out, error = run_cli(f"serve {path} --defense {folder}/fitted --check --data {data}{calls}")
    assert code == 0, error
    assert f"right on {right:.1%} of" in out
    with serving(path, folder / "fitted", ceiling) as url:
        answered = np.array(asked(url, domain, samples.take(slice(0, ROWS), part="asked")))
    assert np.allclose(answered.sum(1), 1, atol=1e-4)
    return answered


@pytest.fixture
def customers(tmp_path) -> Path:
    """Labelled rows of a shop, as a CSV file."""
    random, n = np.random.default_rng(0), 300
    age, income = random.integers(18, 80, n), random.normal(3e4, 1e4, n).round(2)
    city = random.choice(["Oslo", "Wien", "Rom"], n)
    label = np.where(age / 80 + income / 6e4 + (city == "Oslo") / 2 > 1.2, "good", "bad")
    rows = [f"{a},{i},{c},{y}" for a, i, c, y in zip(age, income, city, label, strict=True)]
    (tmp_path / "customers.csv").write_text("\n".join(["age,income,city,label", *rows]) + "\n")
    return tmp_path / "customers.csv"


def test_a_fastapi_service_of_labels_and_scores(customers, run_cli, tmp_path, monkeypatch):
    shorten(monkeypatch)
    skip_report(monkeypatch)
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    port = free_port()
    script = str(ROOT / "tests" / "interop" / "fastapi_model.py")
    command = [str(tool("mlserver", "python")), "-I", script, str(port), str(customers)]
    (tmp_path / "victim.toml").write_text(
        f'url = "http://127.0.0.1:{port}/predict"\nclasses = ["bad", "good"]\ntemplate = \'"$row"\'\n'
        'price_per_1000 = 2.0\ncurrency = "EUR"\n'
    )
    ceiling = 400
    with Server(command, port, log=tmp_path / "log"):
        path = tmp_path / "model.toml"
        code, _, error = run_cli(f"inspect victim.toml --data {customers} --max-calls 100 --out {path}")
        assert code == 0, error
        assert "at most 100 calls, 0.20 EUR" in error
        report, words = audited(path, customers, run_cli, tmp_path, f"--max-calls {ceiling}")
        assert "rows" in words
        model = load_victim(str(path), None, None, max_calls=ceiling)
        samples = samples_at(str(customers), model.domain, classes=model.class_names).split
        own = [label_of(port, row) for row in rows_of(samples)]
        right = float(np.mean([label == ("bad", "good")[y] for label, y in zip(own, samples.labels, strict=True)]))
        assert report["model"]["accuracy"] == pytest.approx(right, abs=0.08)
        answered = defended(path, customers, model.domain, samples, right, run_cli, tmp_path, ceiling)
        assert [("bad", "good")[k] for k in answered.argmax(1)] == own[:ROWS]
        assert model.asked <= ceiling


def rows_of(samples: Split) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    assert isinstance(samples.domain, Columns)
    table = samples.domain.to_table(samples.inputs().numpy())
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def label_of(port: int, row: dict[str, Any]) -> str:
    """Return the label that the service itself gives to a row."""
    body = json.dumps(row | {"age": int(row["age"])}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["label"]


@pytest.mark.parametrize("wire", ["http", "grpc"])
def test_a_table_of_mlserver(wire, customers, run_cli, tmp_path, monkeypatch):
    shorten(monkeypatch)
    skip_report(monkeypatch)
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    rest, rpc = free_port(), free_port()
    (tmp_path / "models").mkdir()
    run_script("mlserver", "table_models.py", str(tmp_path / "models"), str(rest), str(rpc), str(customers))
    path = tmp_path / "victim.toml"
    path.write_text(
        f'url = "{wire}://127.0.0.1:{rpc if wire == "grpc" else rest}"\nmodel = "table"\noutput = "predict_proba"\n'
        'classes = ["bad", "good"]\n'
    )
    (tmp_path / "open.toml").write_text(path.read_text())
    path.write_text(f'{path.read_text()}data = "{customers.name}"\n')
    command = [str(tool("mlserver", "mlserver")), "start", str(tmp_path / "models")]
    with Server(command, rest, log=tmp_path / "log"):
        eventually(lambda: is_ready(f"http://127.0.0.1:{rest}/v2/models/table/ready"))
        code, _, error = run_cli(f"inspect {path} --data {customers}")
        assert code == 2
        assert "says itself what it takes" in error
        code, _, error = run_cli("serve open.toml")
        assert code == 2
        assert 'or set data = "samples.csv" in open.toml' in error
        report, words = audited(path, customers, run_cli, tmp_path)
        assert "rows" in words
        samples = samples_at(str(customers)).split
        model = load_victim(str(path), str(customers), None)
        labels = victims.answers(model, samples).argmax(-1)
        right = (labels == samples.labels).double().mean().item()
        assert right > 0.9
        assert report["model"]["accuracy"] == pytest.approx(right, abs=0.08)
        answered = defended(path, customers, samples.domain, samples, right, run_cli, tmp_path)
        assert (answered.argmax(1) == labels[:ROWS].numpy()).all()


def is_ready(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
        return response.status == 200
    return False


@contextlib.contextmanager
def serving(path, defense, ceiling=None):
    """Serve a model as `feint serve` does, in a thread, and yield its URL."""
    state = asyncio.run(
        load(
            Settings(
                {"model": TorchSettings(torch=str(path), defense=(str(defense),), max_calls_per_day=ceiling)}, **ANYBODY
            )
        )
    )
    with running(state.gateway) as url:
        yield f"{url}/v2/models/model"
    asyncio.run(state.close())


def asked(url, domain, rows):
    """Return the answers of a server to rows, as a client writes them who has read the metadata alone."""
    with urllib.request.urlopen(url, timeout=30) as response:
        inputs = json.load(response)["inputs"]
    x = rows.inputs()
    if isinstance(domain, Columns) and len(inputs) > 1:
        table = domain.to_table(x.numpy())
        tensors = [
            {"name": entry["name"], "datatype": entry["datatype"], "shape": [len(x), 1], "data": table[entry["name"]]}
            for entry in inputs
        ]
    else:
        (entry,) = inputs
        text = isinstance(domain, Text)
        values = domain.to_strings(x.numpy()) if text else x.flatten().tolist()
        data = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
        shape = [len(x), 1] if text else [*x.shape]
        tensors = [{"name": entry["name"], "datatype": entry["datatype"], "shape": shape, "data": data}]
    body = json.dumps({"inputs": tensors}).encode()
    request = urllib.request.Request(f"{url}/infer", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        (output,) = json.load(response)["outputs"]
    return torch.tensor(output["data"]).reshape(output["shape"]).tolist()
