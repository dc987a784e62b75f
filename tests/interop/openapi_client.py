"""open-inference-openapi against a gateway: python openapi_client.py URL KEY."""

import sys

import httpx
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.types import InferenceRequest, RequestInput, TensorData

URL, KEY = sys.argv[1:]
client = OpenInferenceClient(base_url=URL, httpx_client=httpx.Client(headers={"Authorization": f"Bearer {KEY}"}))
# Its wrapper of requests sends headers of its own only: the key is the HTTP client's.
client.check_server_liveness()
client.check_server_readiness()
client.check_model_readiness("toy")
client.check_model_version_readiness("toy", "1")
assert client.read_server_metadata().name == "feint"
assert client.read_model_metadata("toy").inputs[0].shape == [-1, 1, 2, 2]
assert client.read_model_version_metadata("toy", "1").outputs[0].name == "p"


def request(count):
    data = TensorData.parse_obj([0.25] * count)
    return InferenceRequest(
        id="seven", inputs=[RequestInput(name="pixels", shape=[2, 1, 2, 2], datatype="FP32", data=data)]
    )


for response in (
    client.model_infer("toy", request=request(8)),
    client.model_version_infer("toy", "1", request=request(8)),
):
    assert response.id == "seven"
    assert response.outputs[0].name == "p"
    assert response.outputs[0].shape == [2, 3]
    assert abs(sum(response.outputs[0].data.__root__) - 2) < 1e-5


def failure(model, count):
    try:
        return client.model_infer(model, request=request(count))
    except ApiError as error:
        return error


for status, model, count in ((400, "toy", 7), (404, "nobody", 8)):
    error = failure(model, count)
    assert error.status_code == status
    assert "expected" in error.body["error"]
print("ok")
