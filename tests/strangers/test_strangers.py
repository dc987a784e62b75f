"""Models of strangers, from their files to an answer over HTTP: inspect, fit, audit, serve, and another client."""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import cache

import numpy as np
import pytest
import torch
from tests.support.strangers import BUILDERS, Stranger

from feint import victims
from feint.data.files import samples_at
from feint.signature import Columns, Text

pytestmark = [pytest.mark.slow, pytest.mark.interop]
EACH = pytest.mark.parametrize("name", BUILDERS)
AUDITED = "xgboost-adult", "tfidf-sms", "magika", "cifar-nhwc-uint8"
ROWS = 100  # that a client sends
FEINT = "from feint.cli import main; main()"


@pytest.fixture(scope="session")
def strangers(tmp_path_factory):
    """Return a function that builds a stranger's model once in this process."""

    @cache
    def build(name: str) -> Stranger:
        return BUILDERS[name](tmp_path_factory.mktemp(name))

    return build


@pytest.fixture(scope="session")
def inspected(strangers, tmp_path_factory):
    """Return a function that inspects a stranger's model once, and returns the path of its model.toml."""

    @cache
    def inspect(name: str):
        stranger, path = strangers(name), tmp_path_factory.mktemp(f"{name}-toml") / "model.toml"
        line = f"inspect {stranger.model} --data {stranger.data} --out {path}"
        subprocess.run([sys.executable, "-W", "ignore", "-c", FEINT, *line.split()], check=True)
        return path

    return inspect


@EACH
def test_inspect_finds_the_accuracy_of_the_models_own_library(name, strangers, inspected):
    stranger = strangers(name)
    model = victims.load_any(inspected(name))
    samples = samples_at(str(stranger.data), model.domain, classes=model.class_names).split
    assert model.domain.noun == stranger.noun
    right = victims.answers(model, samples).argmax(-1) == samples.labels
    assert right.double().mean().item() == pytest.approx(stranger.accuracy, abs=0.011)


@EACH
def test_a_defense_is_fitted_and_served_and_a_client_gets_the_models_labels(
    name, strangers, inspected, run_cli, tmp_path
):
    stranger, path = strangers(name), inspected(name)
    code, _, error = run_cli(f"fit 'APGP(top=1)' --victim {path} --data {stranger.data} --out {tmp_path}/fitted")
    assert code == 0, error
    code, _, error = run_cli(f"serve {path} --defense {tmp_path}/fitted --check --data {stranger.data}")
    assert code == 0, error
    model = victims.load_any(path)
    samples = samples_at(str(stranger.data), model.domain, classes=model.class_names).split
    rows = samples.take(slice(0, ROWS), part="asked")
    expected = victims.answers(model, rows).argmax(-1).numpy()
    with serving(path, tmp_path / "fitted") as url:
        answered = np.array(asked(url, model.domain, rows))
    assert (answered.argmax(1) == expected).mean() >= 0.99
    assert np.allclose(answered.sum(1), 1, atol=1e-4)


@pytest.mark.parametrize("name", AUDITED)
def test_an_audit_ends_with_a_page_in_the_models_own_words(name, strangers, inspected, run_cli, tmp_path):
    stranger = strangers(name)
    line = f"audit {inspected(name)} --data {stranger.data} --minutes 0.1 --defense LabelOnly --out {tmp_path}/audit"
    code, out, error = run_cli(line)
    assert code == 0, error
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert stranger.noun in out + page
    if stranger.noun != "images":
        assert "image" not in out.lower()


@contextlib.contextmanager
def serving(path, defense):
    """Serve a model in another process, and yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--defense", str(defense), "--port", str(port), "--grpc-port", "0", "--anonymous", "--name", "model"]
    server = subprocess.Popen(
        [sys.executable, "-c", FEINT, "serve", str(path), *options], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/v2/models/model"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(f"{url}/ready", timeout=2):
                break
            time.sleep(0.2)
        assert server.poll() is None, server.stderr.read().decode()
        yield url
    finally:
        server.terminate()
        server.wait(30)


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
