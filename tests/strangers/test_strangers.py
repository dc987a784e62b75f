"""Models of strangers, from their files to an answer over HTTP: inspect, fit, audit, serve, and another client."""

import asyncio
import contextlib
import json
import math
import re
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.gateways import ANYBODY, running
from tests.support.strangers import BUILDERS, Stranger

from feint import victims
from feint.data.files import samples_at
from feint.gateway.server.bootstrap import load
from feint.gateway.settings import Settings, TorchSettings
from feint.signature import Columns, Text

pytestmark = [pytest.mark.slow, pytest.mark.interop]
AUDITED = "xgboost-adult", "tfidf-sms"
ROWS = 100  # that a client sends


def inspected(stranger: Stranger, run_cli, path: Path) -> Path:
    """Inspect a stranger's model, and return the path of its model.toml."""
    line = f"inspect {stranger.model} --data {stranger.data} --out {path}/model.toml {stranger.options}"
    with warnings.catch_warnings(action="ignore"):  # of their own libraries
        code, _, error = run_cli(line)
    assert code == 0, error
    return path / "model.toml"


@pytest.mark.parametrize("name", BUILDERS)
def test_a_model_is_inspected_defended_and_served_and_a_client_gets_its_labels(name, stranger_of, run_cli, tmp_path):
    stranger = stranger_of(name)
    path = inspected(stranger, run_cli, tmp_path)
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


@pytest.mark.parametrize("name", AUDITED)
def test_an_audit_speaks_of_what_the_model_takes(name, stranger_of, run_cli, tmp_path):
    stranger = stranger_of(name)
    path = inspected(stranger, run_cli, tmp_path)
    line = f"audit {path} --data {stranger.data} --minutes 0.1 --defense LabelOnly --out {tmp_path}/audit"
    code, out, error = run_cli(line)
    assert code in (0, 3), error  # 3: nothing is known after so few minutes
    assert stranger.noun in out
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert not re.search(r"\b(image|pixel)s?\b", out + re.sub(r"<style.*?</style>|<svg.*?</svg>", "", page, flags=re.S))


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
