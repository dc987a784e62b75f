"""The protocol by itself: what the codec writes is what the document describes, and one client serves both."""

import asyncio
import json
import subprocess
import sys
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from feint.errors import BadInput, TooLarge, Unreachable
from feint.openinference import grpc_codec, json_client_codec, messages, proto
from feint.openinference.client import GrpcClient, HttpClient, run_sync
from feint.openinference.json_client_codec import MissingOutput, UnreadableResponse
from feint.openinference.json_codec import RequestCodec
from feint.openinference.model_spec import ModelSpec, spec_from_metadata
from feint.signature import Pixels, Tensor

MODEL = ModelSpec("toy", Pixels((1, 2, 2)), "p", 3, (Tensor("pixels", "FP32", (1, 2, 2)),))
CODEC = RequestCodec(MODEL, max_batch=8, max_body=2**20)
X = np.random.default_rng(0).random((2, 1, 2, 2), np.float32)
Q = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], np.float32)


class Reply(NamedTuple):
    body: bytes
    headers: dict[str, str]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("id", ["", 'se"ven'])
def test_response_is_the_message_that_the_document_describes(binary, id):
    headers, body = CODEC.write(CODEC.request(X, id, "", binary=binary), Q)
    length = int(dict(headers).get(b"inference-header-content-length", len(body)))
    response = msgspec.json.decode(body[:length], type=messages.InferResponse)
    (output,) = response.outputs
    assert response.model_name == "toy"
    assert (response.id or "") == id
    assert output.shape == [2, 3]
    assert (output.data is msgspec.UNSET) == binary


def test_requests_whose_json_is_the_same_have_their_own_numbers_and_errors():
    """The form of a binary request is remembered."""
    body, headers = json_client_codec.encode_request(MODEL, X, binary=True)
    length = headers["Inference-Header-Content-Length"]
    head = body[: int(length)]
    for x in (X, X[::-1].copy(), X):
        np.testing.assert_array_equal(CODEC.read(head + x.tobytes(), length).x, x)
    for _ in range(2):
        with pytest.raises(BadInput, match="ambiguous"):
            CODEC.read(body[:-4], length)
        with pytest.raises(BadInput, match="unknown input 'other'"):
            CODEC.read(body.replace(b'"pixels"', b'"other" '), length)
    smaller = RequestCodec(MODEL, max_batch=1, max_body=2**20)
    with pytest.raises(TooLarge):
        smaller.read(body, length)


def http_server(path_to_reply, *, waits):
    """A `send` that answers as a gateway does; with `waits` on an event loop."""
    asked = []

    async def send(method, path, body, headers):
        if waits:
            await asyncio.sleep(0)
        asked.append((method, path, headers))
        if path in path_to_reply:
            return Reply(path_to_reply[path], {})
        request = CODEC.read(body, headers.get("Inference-Header-Content-Length", ""))
        np.testing.assert_array_equal(request.x, X)
        written, response = CODEC.write(request, Q)
        return Reply(response, {name.decode(): value.decode() for name, value in written})

    return send, asked


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("extensions", [["binary_tensor_data"], [], 5, None])
def test_client_over_http(extensions, waits):
    send, asked = http_server({"/v2": msgspec.json.encode({"version": "1", "extensions": extensions})}, waits=waits)
    client, run = HttpClient(send), asyncio.run if waits else run_sync
    assert run(client.server_metadata())["version"] == "1"
    np.testing.assert_array_equal(run(client.infer(MODEL, X, stamp="s", key="k")), Q)
    assert client.binary == (extensions == ["binary_tensor_data"])
    assert asked[1][:2] == ("POST", "/v2/models/toy/infer")
    assert asked[1][2]["Authorization"] == "Bearer k"
    assert "Authorization" not in asked[0][2]


def test_client_over_grpc():
    async def send(call, request, key):
        decoded = grpc_codec.read_request(CODEC, grpc_codec.RequestMessage(request))
        assert call == "ModelInfer"
        assert key == "k"
        assert decoded.stamp == "s"
        np.testing.assert_array_equal(decoded.x, X)
        return grpc_codec.write_response(MODEL, decoded, Q)

    np.testing.assert_array_equal(run_sync(GrpcClient(send).infer(MODEL, X, stamp="s", key="k")), Q)


def test_coroutine_that_waits_needs_an_event_loop():
    send, _ = http_server({"/v2": b"{}"}, waits=True)
    with pytest.raises(RuntimeError, match="event loop"):
        run_sync(HttpClient(send).server_metadata())


def test_errors_of_the_transport_pass_through():
    async def send(*_):
        raise Unreachable("a server", "an answer", "try again")

    with pytest.raises(Unreachable):
        run_sync(HttpClient(send).model_metadata("toy"))


def test_response_without_the_output():
    named = {"outputs": [{"name": "q", "shape": [2, 3], "datatype": "FP32", "data": Q.ravel().tolist()}]}
    with pytest.raises(MissingOutput, match="p, floats"):
        json_client_codec.decode_response(msgspec.json.encode(named), {}, MODEL, 2)
    with pytest.raises(MissingOutput, match="p, floats"):
        grpc_codec.decode_response(proto.ModelInferResponse(outputs=[{"name": "q"}]), MODEL, 2)


@pytest.mark.parametrize("body", [b"", b"5", b"[" * 10**5, b"\xff", b'{"outputs": 1}'])
def test_response_that_cannot_be_read(body):
    with pytest.raises(UnreadableResponse, match="cannot be read") as caught:
        json_client_codec.decode_response(body, {}, MODEL, 2)
    assert isinstance(caught.value, BadInput)


def test_protocol_needs_no_torch():
    rooms = "client, grpc_codec, json_client_codec, json_codec, messages, openapi, proto, status, tensors"
    code = f"import sys; from feint.openinference import {rooms}; import feint.pipeline; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("value", [3, "region", {"a": 1}])
@pytest.mark.parametrize("name", ["classification", "shared_memory_region"])
def test_forms_of_output_that_are_not_served_are_named(name, value):
    codec = RequestCodec(ModelSpec("m", Pixels((1, 2, 2)), "p", 2), max_batch=8, max_body=2**20)
    tensor = {"name": "x", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": [0.5] * 4}
    request = {"inputs": [tensor], "outputs": [{"name": "p", "parameters": {name: value}}]}
    with pytest.raises(BadInput, match="a form of output that is not served"):
        codec.read(json.dumps(request).encode(), "")
    request["outputs"][0]["parameters"][name] = None
    assert len(codec.read(json.dumps(request).encode(), "").x) == 1


@pytest.mark.parametrize("name", ["classification", "shared_memory_region"])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_forms_that_are_not_served_are_named_over_grpc(side, name):
    spec = ModelSpec("m", Pixels((1, 2, 2)), "p", 2)
    codec = RequestCodec(spec, max_batch=8, max_body=2**20)
    message = grpc_codec.encode_request(spec, np.full((1, 1, 2, 2), 0.5, np.float32))
    getattr(message, side)[0].parameters[name].int64_param = 3
    with pytest.raises(BadInput, match=f"{name}, which is not served"):
        grpc_codec.read_request(codec, grpc_codec.RequestMessage(message))


def test_a_negative_batch_is_explained():
    codec = RequestCodec(ModelSpec("m", Pixels((1, 2, 2)), "p", 2), max_batch=8, max_body=2**20)
    tensor = {"name": "x", "shape": [-1, 1, 2, 2], "datatype": "FP32", "data": [0.5] * 4}
    with pytest.raises(BadInput, match=r"expected \[N, 1, 2, 2\] with N ≥ 0"):
        codec.read(json.dumps({"inputs": [tensor]}).encode(), "")


OUTPUT = {"name": "p", "shape": [2, 3], "datatype": "FP32", "data": Q.ravel().tolist()}
RAW = {"parameters": {"binary_data_size": Q.nbytes}}


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": None}, {"parameters": {"binary_data_size": None}}, {"shape": None}, {"shape": ["2", "3"]},
        {"shape": [2.0, 3.0]}, {"data": Q.tolist()}, {"datatype": "fp32"}, {"data": None, **RAW}, {"data": [], **RAW},
    ],
    ids=str,
)  # fmt: skip
def test_response_of_another_server_is_read_generously(change):
    head = json.dumps({"id": None, "parameters": None, "outputs": [OUTPUT | change]}).encode()
    raw = "binary_data_size" in (change.get("parameters") or {}) and change["parameters"]["binary_data_size"]
    body, headers = (head + Q.tobytes(), {"inference-header-content-length": str(len(head))}) if raw else (head, {})
    answer = json_client_codec.decode_response(body, headers, MODEL, 2)
    np.testing.assert_allclose(answer.reshape(2, 3), Q)


def test_an_empty_header_of_a_response_is_none():
    body = json.dumps({"outputs": [OUTPUT]}).encode()
    assert json_client_codec.decode_response(body, {"inference-header-content-length": ""}, MODEL, 2).shape == (2, 3)


def test_null_in_a_request_stands_for_nothing():
    """Clients whose messages are classes with optional fields send all of them."""
    sizes = {"binary_data_size": None, "shared_memory_region": None}
    tensor = {"name": "pixels", "shape": [2, 1, 2, 2], "datatype": "FP32", "data": X.ravel().tolist()}
    form = {"binary_data": None, "classification": None, "shared_memory_region": None}
    request = {
        "id": None, "parameters": {"stamp": None, "binary_data_output": None},
        "inputs": [tensor | {"parameters": sizes}],
        "outputs": [{"name": "p", "datatype": None, "shape": None, "data": None, "parameters": form}],
    }  # fmt: skip
    decoded = CODEC.read(json.dumps(request).encode(), "")
    assert (decoded.id, decoded.stamp, decoded.binary) == ("", "", False)
    request["inputs"] = [tensor | {"data": None, "parameters": sizes | {"binary_data_size": X.nbytes}}]
    head = json.dumps(request).encode()
    np.testing.assert_array_equal(CODEC.read(head + X.tobytes(), str(len(head))).x, X)


@pytest.mark.parametrize("batch", [None, "batch", "-1", -1])
def test_metadata_name_the_batch_as_they_like(batch):
    tensor = {"name": "pixels", "datatype": "fp32", "shape": [batch, 1, 2, 2]}
    metadata = {"inputs": [tensor], "outputs": [{"name": "p", "datatype": None, "shape": [batch, 3]}]}
    spec = spec_from_metadata("toy", metadata)
    assert (spec.domain, spec.output, spec.classes, spec.inputs) == (MODEL.domain, "p", 3, MODEL.inputs)


def long_body(first):
    """A request whose input has two lists of data, of which the last one counts."""
    first = first.replace("0.5", "0.5," * 1200 + "0.5")
    tensor = f'"name":"x","shape":[1,1,30,40],"datatype":"FP32","data":{first},"data":{[0.25] * 1200}'
    return f'{{"inputs":[{{{tensor}}}]}}'.encode()


LONG_CODEC = RequestCodec(ModelSpec("toy", Pixels((1, 30, 40)), "p", 3), max_batch=4, max_body=2**26)


@pytest.mark.parametrize("first", ["[[0.5]", "[0.5 0.5]", "[0.5,]", "[nothing, 0.5]"])
def test_a_long_list_that_another_one_replaces_is_a_list(first):
    """It had been cut out before the JSON was read, so that nobody looked at it."""
    with pytest.raises(BadInput, match="no request"):
        LONG_CODEC.read(long_body(first), "")


def test_the_last_of_two_long_lists_counts_as_in_any_json():
    assert (LONG_CODEC.read(long_body("[0.5]"), "").x == 0.25).all()


def test_long_lists_that_are_no_inputs_have_the_limit_of_other_json():
    with pytest.raises(TooLarge, match="beside the data"):
        LONG_CODEC.read(long_body("[" + "0.5, " * 300 + "0.5]"), "")
