"""Servers that nobody here wrote as upstreams of a gateway, over REST and over gRPC."""

from pathlib import Path

import httpx2
import numpy as np
import pytest
from benchmarks.load.processes import Server, free_port
from tests.interop.environments import tool
from tests.support.gateways import ANYBODY, X
from tests.support.graph_files import defended, output_defense
from tests.support.upstreams import softmax_of
from tests.support.waiting import eventually

from feint.gateway.server.run import running
from feint.gateway.settings import Settings, UpstreamSettings

pytestmark = [pytest.mark.interop, pytest.mark.slow]


@pytest.fixture(scope="module")
def kserve(tmp_path_factory):
    """The ports of KServe's server, of REST and of gRPC."""
    rest, rpc = free_port(), free_port()
    script = Path(__file__).with_name("kserve_model.py")
    command = [str(tool("kserve", "python")), "-I", str(script), str(rest), str(rpc)]
    with Server(command, rest, log=tmp_path_factory.mktemp("kserve") / "log") as server:
        yield {"http": rest, "grpc": rpc}, server


def ask(client, x=X):
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return client.post("/v2/models/toy/infer", json={"inputs": [tensor]}, timeout=30)


def gateway(tmp_path, wire, port, **how):
    at = UpstreamSettings(upstream=f"{wire}://127.0.0.1:{port}", outputs=output_defense(tmp_path / "q.onnx"), **how)
    return running(Settings({"toy": at}, **ANYBODY))


@pytest.mark.parametrize("wire", ["http", "grpc"])
@pytest.mark.parametrize("output", ["p", "logits"])
def test_kserves_server_is_defended(kserve, tmp_path, wire, output):
    ports, _ = kserve
    with (
        gateway(tmp_path, wire, ports[wire], output=output, logits=output == "logits") as served,
        httpx2.Client(base_url=served.url) as client,
    ):
        reply = ask(client)
        assert reply.status_code == 200, reply.text
        (answer,) = reply.json()["outputs"]
    assert answer["name"] == "probabilities"
    rows = np.array(answer["data"], np.float32).reshape(answer["shape"])
    np.testing.assert_allclose(rows, defended(softmax_of(X)), atol=1e-6)


@pytest.mark.parametrize("wire", ["http", "grpc"])
def test_kserves_server_is_missed_and_found_again(kserve, tmp_path, wire):
    ports, server = kserve
    with (
        gateway(tmp_path, wire, ports[wire], output="p") as served,
        httpx2.Client(base_url=served.url, timeout=30) as client,
    ):
        server.kill()
        assert ask(client).status_code == 502
        eventually(lambda: client.get("/v2/models/toy/ready").status_code == 503)
        server.start()
        eventually(lambda: client.get("/v2/models/toy/ready").status_code == 200)
        assert ask(client).status_code == 200
