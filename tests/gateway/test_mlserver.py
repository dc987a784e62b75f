"""MLServer, with models of scikit-learn: behind a gateway, and asked as anybody's server."""

import json

import httpx2
import numpy as np
import pytest
from benchmarks.load.processes import Server, free_port
from tests.interop.environments import run_script, tool

from feint import export
from feint.client import RemoteService
from feint.data.files import samples_at
from feint.defense import Defense
from feint.defenses.outputs import ReverseSigmoid
from feint.gateway.backends.onnx_model import OnnxModel
from feint.gateway.server.run import running
from feint.gateway.settings import KeySettings, LedgerSettings, Settings, UpstreamSettings
from feint.recipes.recipe import to_table

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory):
    """Its ports, of REST and of gRPC."""
    folder, rest, rpc = tmp_path_factory.mktemp("mlserver"), free_port(), free_port()
    command = [str(tool("mlserver", "mlserver")), "start", str(folder)]
    run_script("mlserver", "digits_model.py", str(folder), str(rest), str(rpc))
    with Server(command, rest, log=folder / "log"):
        eventually_ready(rest)
        yield rest, rpc


def eventually_ready(port, name="digits"):
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", transport=httpx2.HTTPTransport(retries=5), timeout=30
    ) as client:
        assert client.get(f"/v2/models/{name}/ready").status_code == 200


def infer(url, x, output):
    """A model's rows (N, 10), and all outputs that came."""
    tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    body = {"inputs": [tensor], "outputs": [{"name": output}]}
    told = httpx2.post(f"{url}/v2/models/digits/infer", json=body, timeout=30)
    assert told.status_code == 200, told.text
    outputs = told.json()["outputs"]
    return np.array(outputs[0]["data"]).reshape(outputs[0]["shape"]), [it["name"] for it in outputs]


@pytest.mark.parametrize("wire", ["http", "grpc"])
def test_a_model_of_scikit_learn_is_served_defended(mlserver, digits, wire, tmp_path):
    rest, rpc = mlserver
    written = export.outputs(Defense(outputs=[ReverseSigmoid()]), tmp_path / "q.onnx", classes=10, gateway=True)
    x = digits.test.inputs(slice(0, 40)).numpy()
    bare, _ = infer(f"http://127.0.0.1:{rest}", x.reshape(40, 64), "predict_proba")
    at = UpstreamSettings(
        upstream=f"{wire}://127.0.0.1:{rpc if wire == 'grpc' else rest}",
        outputs=written.path, input="x", output="predict_proba", shape=x.shape[1:], flat=True, classes=10,
    )  # fmt: skip
    settings = Settings({"digits": at}, keys=KeySettings(anonymous=True), ledger=LedgerSettings("memory:"))
    with running(settings) as gateway:
        defended, names = infer(gateway.url, x, "probabilities")
        assert names == ["probabilities"]
        np.testing.assert_allclose(defended, OnnxModel(written.path).run(bare.astype(np.float32)).rungs[0], atol=1e-6)
        assert np.abs(defended - bare).sum(-1).mean() > 0.01  # or nothing was defended
        assert infer(gateway.url, x[:0], "probabilities")[0].shape == (0, 10)
        for wrong in ({"inputs": []}, {"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [0.0]}]}):
            refused = httpx2.post(f"{gateway.url}/v2/models/digits/infer", json=wrong)
            assert refused.status_code == 400
            assert list(refused.json()) == ["error"]


def test_it_takes_no_raw_bytes_and_is_never_sent_any(mlserver, digits):
    """What the gateway goes by: MLServer lists no extension, and fails where it is sent raw bytes all the same."""
    rest, _ = mlserver
    url = f"http://127.0.0.1:{rest}"
    assert httpx2.get(f"{url}/v2").json()["extensions"] == []
    raw = digits.test.inputs(slice(0, 1)).numpy().astype("<f4").tobytes()
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    sent = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    assert httpx2.post(f"{url}/v2/models/digits/infer", content=head + raw, headers=sent).status_code == 500


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Ports of a server with a table's pipeline and one of texts, and the files of their samples."""
    folder, rest, rpc = tmp_path_factory.mktemp("tables"), free_port(), free_port()
    random, n = np.random.default_rng(0), 400
    age, income = random.integers(18, 80, n), random.normal(3e4, 1e4, n).round(2)
    city = random.choice(["Oslo", "Wien", "Rom"], n)
    label = np.where(age / 80 + income / 6e4 + (city == "Oslo") / 2 > 1.2, "good", "bad")
    rows = [f"{a},{i},{c},{y}" for a, i, c, y in zip(age, income, city, label, strict=True)]
    (folder / "samples.csv").write_text("\n".join(["age,income,city,label", *rows]) + "\n")
    texts = [f"{c} {y} {i},{y}" for i, (c, y) in enumerate(zip(city, label, strict=True))]
    (folder / "texts.csv").write_text("\n".join(["text,label", *texts]) + "\n")
    run_script("mlserver", "table_models.py", str(folder), str(rest), str(rpc), str(folder / "samples.csv"))
    with Server([str(tool("mlserver", "mlserver")), "start", str(folder)], rest, log=folder / "log"):
        for name in ("table", "text"):
            eventually_ready(rest, name)
        yield rest, rpc, {"table": folder / "samples.csv", "text": folder / "texts.csv"}


def asked(rest, name, tensors):
    """The rows (N, 2) that the server itself gives to tensors as JSON."""
    body = {"inputs": tensors, "outputs": [{"name": "predict_proba"}]}
    reply = httpx2.post(f"http://127.0.0.1:{rest}/v2/models/{name}/infer", json=body, timeout=30)
    (output,) = reply.json()["outputs"]
    return np.array(output["data"]).reshape(output["shape"])


def as_json(domain, x):
    """Inputs as the tensors of a request, written from the protocol."""
    table = domain.to_table(x) if hasattr(domain, "to_table") else {"text": domain.to_strings(x)}
    return [
        {
            "name": name,
            "shape": [len(x), 1],
            "datatype": "BYTES" if isinstance(values[0], str) else "FP64",
            "data": values,
        }
        for name, values in table.items()
    ]


@pytest.mark.parametrize("wire", ["http", "grpc"])
@pytest.mark.parametrize("name", ["table", "text"])
def test_named_columns_and_texts_are_asked_as_they_are(tables, name, wire):
    rest, rpc, files = tables
    samples = samples_at(str(files[name]))
    url = f"{wire}://127.0.0.1:{rpc if wire == 'grpc' else rest}"
    service = RemoteService(url, model=name, domain=samples.split.domain, classes=2)
    x = samples.split.inputs(slice(0, 30))
    expected = asked(rest, name, as_json(samples.split.domain, x.numpy()))
    np.testing.assert_allclose(service.oracle(budget=30).ask(x).numpy(), expected, atol=1e-6)
    assert len({*expected.argmax(-1).tolist()}) == 2


@pytest.mark.parametrize("wire", ["http", "grpc"])
@pytest.mark.parametrize("name", ["table", "text"])
def test_a_table_and_texts_are_served_defended(tables, name, wire, tmp_path):
    rest, rpc, files = tables
    samples = samples_at(str(files[name]))
    domain, x = samples.split.domain, samples.split.inputs(slice(0, 30)).numpy()
    written = export.outputs(Defense(outputs=[ReverseSigmoid()]), tmp_path / "q.onnx", classes=2, gateway=True)
    at = UpstreamSettings(
        upstream=f"{wire}://127.0.0.1:{rpc if wire == 'grpc' else rest}", outputs=written.path,
        output="predict_proba", domain=to_table(domain), classes=2,
    )  # fmt: skip
    settings = Settings({name: at}, keys=KeySettings(anonymous=True), ledger=LedgerSettings("memory:"))
    bare = asked(rest, name, as_json(domain, x))
    with running(settings) as gateway:
        body = {"inputs": as_json(domain, x)}
        reply = httpx2.post(f"{gateway.url}/v2/models/{name}/infer", json=body, timeout=30)
        assert reply.status_code == 200, reply.text
        (output,) = reply.json()["outputs"]
        defended = np.array(output["data"]).reshape(output["shape"])
    np.testing.assert_allclose(defended, OnnxModel(written.path).run(bare.astype(np.float32)).rungs[0], atol=1e-6)
    assert np.abs(defended - bare).sum(-1).mean() > 0.01
