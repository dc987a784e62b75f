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
from tests.support.audits import shorten
from tests.support.gateways import ANYBODY, running
from tests.support.strangers import BUILDERS, Stranger

from feint import victims
from feint.data.files import samples_at
from feint.gateway.server.bootstrap import load
from feint.gateway.settings import Settings, TorchSettings
from feint.signature import Columns, Text

pytestmark = [pytest.mark.slow, pytest.mark.interop]
ROWS = 100  # that a client sends


def inspected(stranger: Stranger, run_cli, path: Path) -> Path:
    """Inspect a stranger's model, and return the path of its model.toml."""
    line = f"inspect {stranger.model} --data {stranger.data} --out {path}/model.toml {stranger.options}"
    with warnings.catch_warnings(action="ignore"):  # of their own libraries
        code, _, error = run_cli(line)
    assert code == 0, error
    return path / "model.toml"


def audited(path: Path, data: Path, run_cli, folder: Path) -> tuple[dict[str, Any], str]:
    """Audit a model, and return the JSON with the words of the page."""
    line = f"audit {path} --data {data} --minutes 0.02 --defense LabelOnly --json --out {folder}/audit"
    code, out, error = run_cli(line)
    assert code in (0, 3), error  # 3: nothing is known after so few minutes
    page = (folder / "audit" / "audit.html").read_text()
    return json.loads(out), error + re.sub(r"<style.*?</style>|<svg.*?</svg>", "", page, flags=re.S)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_is_inspected_audited_defended_and_served_to_a_client(
    name, stranger_of, run_cli, tmp_path, monkeypatch
):
    shorten(monkeypatch)
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
    code, _, error = run_cli(
        f"fit 'APGP(top=1, steps=100)' --victim {path} --data {stranger.data} --out {tmp_path}/fitted"
    )
    assert code == 0, error
    code, out, error = run_cli(f"serve {path} --defense {tmp_path}/fitted --check --data {stranger.data}")
    assert code == 0, error
    assert f"right on {right:.1%} of" in out
    with serving(path, tmp_path / "fitted") as url:
        answered = np.array(asked(url, model.domain, samples.take(slice(0, ROWS), part="asked")))
    assert (answered.argmax(1) == labels[:ROWS].numpy()).mean() >= 0.99
    assert np.allclose(answered.sum(1), 1, atol=1e-4)


@contextlib.contextmanager
def serving(path, defense):
    """Serve a model as `feint serve` does, in a thread, and yield its URL."""
    state = asyncio.run(load(Settings({"model": TorchSettings(torch=str(path), defense=(str(defense),))}, **ANYBODY)))
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
