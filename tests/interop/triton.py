"""tritonclient against a gateway: python triton.py HOST:PORT HOST:PORT KEY, of REST and of gRPC."""

import itertools
import sys

import numpy as np
import tritonclient.grpc as rpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

WEB, RPC, KEY = sys.argv[1:]
SHAPE, CLASSES = (1, 2, 2), 3
X = np.random.default_rng(1).random((2, *SHAPE)).astype(np.float32)
TYPES = {"FP32": X, "FP64": X.astype(np.float64), "FP16": X.astype(np.float16), "UINT8": np.rint(X * 255).astype("u1")}
SAID = {
    "Authorization": f"Bearer {KEY}"
}  # copied each time: the HTTP client writes its own headers into what it is given


def asked(kit, x, datatype, **how):
    tensor = kit.InferInput("pixels", list(x.shape), datatype)
    tensor.set_data_from_numpy(x, **how)
    return [tensor]


def failure(ask):
    try:
        return ask()
    except InferenceServerException as error:
        return error


def raised(ask, status):
    error = failure(ask)
    assert error.status() == status, (error.status(), status)
    assert "expected" in error.message(), error.message()


def over_http():
    client, count = http.InferenceServerClient(WEB), 0
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata(headers=dict(SAID))["name"] == "feint"
    assert client.get_model_metadata("toy", headers=dict(SAID))["inputs"][0]["shape"] == [-1, *SHAPE]
    assert client.get_model_config("toy", headers=dict(SAID))["input"][0]["dims"] == list(SHAPE)
    assert [model["name"] for model in client.get_model_repository_index(headers=dict(SAID))] == ["toy", "dear"]
    rows = {}
    for (datatype, x), into, out in itertools.product(TYPES.items(), (True, False), (True, False, None)):
        if datatype == "FP16" and not into:
            continue  # this client does not send it as JSON
        outputs = None if out is None else [http.InferRequestedOutput("p", binary_data=out)]
        inputs = asked(http, x, datatype, binary_data=into)
        response = client.infer("toy", inputs, outputs=outputs, request_id="seven", headers=dict(SAID))
        assert response.get_response()["id"] == "seven"
        p = response.as_numpy("p")
        assert p.shape == (2, CLASSES)
        np.testing.assert_allclose(p, rows.setdefault(datatype, p), rtol=1e-5)
        count += 1
    np.testing.assert_allclose(rows["FP64"], rows["FP32"])
    np.testing.assert_allclose(rows["UINT8"], rows["FP32"], atol=0.02)
    raised(lambda: client.infer("toy", asked(http, X, "FP32")), "401")
    raised(lambda: client.infer("nobody", asked(http, X, "FP32"), headers=dict(SAID)), "404")
    raised(lambda: client.infer("toy", asked(http, X.reshape(2, 4), "FP32"), headers=dict(SAID)), "400")
    words = asked(http, np.array([[b"x"]], dtype=object), "BYTES")
    raised(lambda: client.infer("toy", words, headers=dict(SAID)), "400")
    raised(lambda: client.infer("toy", asked(http, X.astype("i8"), "INT64"), headers=dict(SAID)), "400")
    raised(lambda: client.infer("toy", asked(http, np.repeat(X, 9, 0), "FP32"), headers=dict(SAID)), "413")
    raised(lambda: client.infer("dear", asked(http, X, "FP32"), headers=dict(SAID)), "429")
    return count


def over_grpc():
    client, count = rpc.InferenceServerClient(RPC), 0
    options = {"headers": {"authorization": SAID["Authorization"]}}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy", **options)
    raised(lambda: client.is_model_ready("toy"), "StatusCode.UNAUTHENTICATED")  # the name would have to be read first
    assert client.get_server_metadata(**options).name == "feint"
    assert list(client.get_model_metadata("toy", **options).inputs[0].shape) == [-1, *SHAPE]
    assert list(client.get_model_config("toy", **options).config.input[0].dims) == list(SHAPE)
    assert client.get_model_repository_index(**options).models[0].name == "toy"
    for (datatype, x), outputs in itertools.product(TYPES.items(), (None, [rpc.InferRequestedOutput("p")])):
        response = client.infer("toy", asked(rpc, x, datatype), outputs=outputs, request_id="seven", **options)
        assert response.get_response().id == "seven"
        assert response.as_numpy("p").shape == (2, CLASSES)
        count += 1
    web = http.InferenceServerClient(WEB).infer("toy", asked(http, X, "FP32"), headers=dict(SAID)).as_numpy("p")
    np.testing.assert_allclose(client.infer("toy", asked(rpc, X, "FP32"), **options).as_numpy("p"), web, rtol=1e-5)
    raised(lambda: client.infer("toy", asked(rpc, X, "FP32")), "StatusCode.UNAUTHENTICATED")
    raised(lambda: client.infer("nobody", asked(rpc, X, "FP32"), **options), "StatusCode.NOT_FOUND")
    raised(lambda: client.infer("toy", asked(rpc, X.astype("i8"), "INT64"), **options), "StatusCode.INVALID_ARGUMENT")
    raised(lambda: client.infer("dear", asked(rpc, X, "FP32"), **options), "StatusCode.RESOURCE_EXHAUSTED")
    return count


print(over_http(), over_grpc())
