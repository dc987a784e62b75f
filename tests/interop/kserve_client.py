"""KServe's InferenceRESTClient against a gateway: python kserve_client.py URL KEY."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

URL, KEY = sys.argv[1:]
SAID = {"Authorization": f"Bearer {KEY}"}
X = np.random.default_rng(1).random((2, 1, 2, 2)).astype(np.float32)


def request(x, *, binary):
    tensor = InferInput("pixels", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x, binary_data=binary)
    return InferRequest("toy", [tensor], request_id="seven")


async def failure(client, data, headers, model="toy"):
    try:
        return await client.infer(URL, data, model_name=model, headers=headers)
    except httpx.HTTPStatusError as error:
        return error


async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(URL)
    assert await client.is_server_ready(URL)
    assert await client.is_model_ready(URL, "toy")
    rows = []
    for binary in (True, False):
        response = await client.infer(URL, request(X, binary=binary), model_name="toy", headers=dict(SAID))
        assert response.id == "seven"
        (output,) = response.outputs
        assert output.name == "p"
        assert output.shape == [2, 3]
        rows.append(output.as_numpy())
    np.testing.assert_allclose(*rows, rtol=1e-5)
    for headers, x, model, status in (
        ({}, X, "toy", 401),
        (SAID, X, "nobody", 404),
        (SAID, X.reshape(2, 4), "toy", 400),
    ):
        error = await failure(client, request(x, binary=False), dict(headers), model)
        assert error.response.status_code == status, (error, status)
        assert "expected" in error.response.json()["error"]
    await client.close()


asyncio.run(main())
print("ok")
