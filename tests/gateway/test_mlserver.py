"""MLServer, with a model of scikit-learn, behind a gateway that runs an exported output defense in front of it."""

import json

import httpx2
import numpy as np
import pytest
from benchmarks.load.processes import Server, free_port
from tests.interop.environments import run_script, tool

from feint import export
from feint.defense import Defense
from feint.defenses.outputs import ReverseSigmoid
from feint.gateway.backends.onnx_model import OnnxModel
from feint.gateway.server.run import running
from feint.gateway.settings import KeySettings, LedgerSettings, Settings, UpstreamSettings

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


def eventually_ready(port):
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", transport=httpx2.HTTPTransport(retries=5), timeout=30
    ) as client:
        assert client.get("/v2/models/digits/ready").status_code == 200


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
