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


def command(name, folder, rest, rpc):
    """The command that starts a server, from an environment of its own."""
    script = Path(__file__).with_name({"kserve": "kserve_model.py", "triton": "triton_server.py"}[name])
    arguments = [str(folder)] if name == "triton" else []
    return [str(tool(name, "python")), "-I", str(script), *arguments, str(rest), str(rpc)]


@pytest.fixture(scope="module", params=["kserve", "triton"])
def foreign(request, tmp_path_factory):
    """The ports of a server, of REST and of gRPC, and the server."""
    rest, rpc, folder = free_port(), free_port(), tmp_path_factory.mktemp(request.param)
    with Server(command(request.param, folder, rest, rpc), rest, log=folder / "log") as server:
        yield {"http": rest, "grpc": rpc}, server


def ask(client, x=X):
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return client.post("/v2/models/toy/infer", json={"inputs": [tensor]}, timeout=30)


def gateway(tmp_path, wire, port, **how):
    at = UpstreamSettings(upstream=f"{wire}://127.0.0.1:{port}", outputs=output_defense(tmp_path / "q.onnx"), **how)
    return running(Settings({"toy": at}, **ANYBODY))


@pytest.mark.parametrize("wire", ["http", "grpc"])
@pytest.mark.parametrize("output", ["p", "logits"])
def test_its_model_is_defended(foreign, tmp_path, wire, output):
    ports, _ = foreign
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
def test_it_is_missed_and_found_again(foreign, tmp_path, wire):
    ports, server = foreign
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
