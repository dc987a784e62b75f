"""A model behind another server: what it says is used, checked and never passed on."""

import time
from contextlib import contextmanager

import httpx2
import numpy as np
import pytest
from tests.support import upstreams
from tests.support.graph_files import defended, output_defense
from tests.support.upstreams import SECRET, outputs, softmax_of, upstream
from tests.support.waiting import eventually

from feint.errors import BadInput, BadRecipe
from feint.gateway.backends.upstream import read_spec
from feint.gateway.server.run import running
from feint.gateway.settings import KeySettings, LedgerSettings, Settings, UpstreamSettings
from feint.recipes.recipe import to_table
from feint.signature import Column, Columns

X = np.random.default_rng(0).random((5, 1, 2, 2), np.float32)
ANYBODY = {"keys": KeySettings(anonymous=True), "ledger": LedgerSettings("memory:")}


@contextmanager
def before(server, tmp_path, *, access=(), **how):
    """A client of a gateway before this upstream."""
    defense = output_defense(tmp_path / "q.onnx", access=access)
    at = UpstreamSettings(upstream=server.url, output=how.pop("output", "p"), outputs=defense, timeout=1.0, **how)
    with running(Settings({"toy": at}, **ANYBODY)) as gateway, httpx2.Client(base_url=gateway.url) as client:
        client.gateway = gateway
        yield client


def ask(client, x=X):
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return client.post("/v2/models/toy/infer", json={"inputs": [tensor]})


def answer_of(response):
    (out,) = response.json()["outputs"]
    return np.array(out["data"], np.float32).reshape(out["shape"])


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("output", ["p", "logits"])
def test_the_defended_answer_and_nothing_else(tmp_path, binary, output):
    with upstream() as server:
        server.extensions = ["binary_tensor_data"] * binary
        with before(server, tmp_path, output=output, logits=output == "logits") as client:
            response = ask(client)
        assert np.allclose(answer_of(response), defended(softmax_of(X)), atol=1e-6)
        assert [it["name"] for it in response.json()["outputs"]] == ["probabilities"]
        assert set(server.bodies) == {"binary" if binary else "json"}


def test_a_server_that_refuses_the_raw_bytes_it_promised_gets_json(tmp_path):
    with upstream() as server:
        server.refuses_binary = True
        with before(server, tmp_path) as client:
            assert [ask(client).status_code for _ in range(3)] == [200] * 3
        assert server.bodies == ["binary", "json", "json", "json", "json"]  # the first two: the trial at start-up


FAULTS = {
    "killed": (upstreams.killed, 502),
    "half": (upstreams.half, 502),
    "slow": (upstreams.slow, 504),
    "status": (upstreams.says(500, {"error": SECRET}), 502),
    "redirect": (upstreams.says(302, b""), 502),
    "garbage": (upstreams.says(200, b"\x00\xff" * 99), 500),
    "no json object": (upstreams.says(200, [1, 2]), 500),
    "no such output": (outputs({"name": "q", "datatype": "FP32", "shape": [5, 3], "data": [1 / 3] * 15}), 500),
    "wrong shape": (outputs({"name": "p", "datatype": "FP32", "shape": [3, 5], "data": [1 / 5] * 15}), 500),
    "too few numbers": (outputs({"name": "p", "datatype": "FP32", "shape": [5, 3], "data": [1 / 3] * 14}), 500),
    "words": (outputs({"name": "p", "datatype": "BYTES", "shape": [5, 3], "data": ["cat"] * 15}), 500),
    "NaN": (upstreams.says(200, b'{"outputs": [{"name": "p", "shape": [5, 3], "data": [NaN, 0, 1]}]}'), 500),
    "infinite": (outputs({"name": "p", "shape": [5, 3], "data": [1e300] * 15}), 500),
    "logits": (outputs({"name": "p", "shape": [5, 3], "data": [3.0, -1.0, 0.5] * 5}), 500),
    "negative": (outputs({"name": "p", "shape": [5, 3], "data": [1.5, -0.5, 0.0] * 5}), 500),
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with upstream() as server, before(server, tmp_path_factory.mktemp("served")) as client:
        yield server, client


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_an_upstream_that_fails_is_an_error_that_says_nothing_of_it(served, name):
    server, client = served
    server.fault, status = FAULTS[name]
    failed = ask(client)
    server.fault = None
    again = ask(client)
    assert failed.status_code == status
    assert again.status_code == 200
    assert list(failed.json()) == ["error"]
    said = failed.text + str(failed.headers)
    assert SECRET not in said
    assert "127.0.0.1" not in failed.text
    assert not any(digits in said for digits in leaks(softmax_of(X)))


def leaks(p):
    """What would be seen of these numbers in a text."""
    return [repr(float(value))[:7] for value in p.astype(np.float32).ravel() if 1e-3 < value < 0.999]


def test_logits_pass_only_where_the_settings_say_so(tmp_path):
    with (
        upstream() as server,
        pytest.raises(BadInput, match="logits = true"),
        before(server, tmp_path, output="logits"),
    ):
        pass


def test_an_unknown_output_is_found_out_at_start_up(tmp_path):
    with upstream() as server, pytest.raises(BadInput, match="one input"), before(server, tmp_path, output="q"):
        pass
    with (
        upstream() as server,
        pytest.raises(BadInput, match="set output, input"),
        before(server, tmp_path, output=None),
    ):
        pass


def test_a_request_is_sent_again_only_on_a_kept_connection_that_ended(tmp_path):
    with upstream() as server, before(server, tmp_path) as client:
        ask(client)
        before_it = server.asked
        server.cut()  # as an idle connection that the upstream ends
        time.sleep(0.05)
        assert ask(client).status_code == 200
        assert server.asked == before_it + 5
        server.fault = upstreams.killed  # a new connection too: then it is not sent a third time
        assert ask(client).status_code == 502
        assert server.asked - before_it - 5 <= 10


@pytest.mark.slow
def test_an_upstream_that_comes_later_and_one_that_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("feint.gateway.server.app_state.EVERY", 0.05)
    with upstream() as server:
        port = server.server_port
    with before(server, tmp_path) as client:
        assert client.get("/v2/health/ready").status_code == 503
        assert ask(client).status_code == 502
        for _ in range(2):
            with upstream(port):
                eventually(lambda: client.get("/v2/health/ready").status_code == 200)
                assert np.allclose(answer_of(ask(client)), defended(softmax_of(X)), atol=1e-6)
            eventually(lambda: client.get("/v2/health/ready").status_code == 503)
            assert ask(client).status_code == 502


def test_an_upstream_needs_a_url(tmp_path):
    with pytest.raises(BadRecipe, match="grpc://HOST:PORT"):
        UpstreamSettings(upstream="localhost:8000")


def test_what_is_refused_never_reaches_the_upstream(tmp_path):
    with upstream() as server, before(server, tmp_path, access=[{"kind": "Budget", "queries": 7}]) as client:
        tried = server.asked
        assert [ask(client).status_code for _ in range(3)] == [200, 429, 429]
        assert server.asked == tried + 5


def test_a_failed_upstream_is_charged_to_nobody(tmp_path):
    with upstream() as server, before(server, tmp_path, access=[{"kind": "Budget", "queries": 12}]) as client:
        server.fault = upstreams.killed
        assert ask(client).status_code == 502
        server.fault = None
        assert [ask(client).status_code for _ in range(3)] == [200, 200, 429]


TABLE = Columns((Column("age"), Column("job", ("cook", "clerk"))))


def test_an_upstream_of_a_table_whose_metadata_are_empty():
    """As MLServer declares a scikit-learn model (SeldonIO/MLServer#997)."""
    at = UpstreamSettings(
        upstream="http://there", input="predict", datatype="FP64", domain=to_table(TABLE), output="predict_proba"
    )
    spec = read_spec({"inputs": [], "outputs": []}, at, "bc")
    assert spec.domain == TABLE
    assert spec.output == "predict_proba"
    ((name, array),) = spec.encode(np.array([[30, 1.0]])).items()
    assert (name, array.dtype, array.tolist()) == ("predict", np.float64, [[30, 1]])


def test_flat_inputs_of_an_open_size_have_that_of_the_domain():
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, -1, -1]}
    metadata = {"inputs": [tensor], "outputs": [{"name": "p", "datatype": "FP32", "shape": [-1, 3]}]}
    spec = read_spec(metadata, UpstreamSettings(upstream="http://host", shape=(1, 2, 2), flat=True), "m")
    assert spec.inputs[0].shape == (4,)
