"""Infer requests for the toy of tests/support/gateways.py, over REST and gRPC: good ones, and every kind of bad one."""

import json

import numpy as np
from tests.support.gateways import SHAPE

from feint.openinference import proto

X = np.random.default_rng(1).random((2, *SHAPE)).astype(np.float32)


def document(x=X, *, datatype="FP32", **more):
    tensor = {"name": "pixels", "shape": list(x.shape), "datatype": datatype, "data": x.ravel().tolist()}
    return {"inputs": [tensor]} | more


def wrong(**changes):
    body = document()
    body["inputs"][0] |= changes
    return body


DEEP = b'{"x":' + b"[" * 100_000
BAD_BODIES = {
    "not JSON": b"{",
    "no text": b"\xff\xfe{",
    "empty": b"",
    "a list": b"[]",
    "deep": DEEP,
    "deep data": b'{"inputs":[{"name":"pixels","shape":[1,1,2,2],"datatype":"FP32","data":' + b"[" * 100_000,
    "no inputs": {"inputs": []},
    "two inputs": {"inputs": document()["inputs"] * 2},
    "name": wrong(name="x"),
    "datatype": wrong(datatype="BYTES"),
    "shape": wrong(shape=[2, 4]),
    "negative": wrong(shape=[-2, 1, 2, 2]),
    "no shape": wrong(shape=[]),
    "huge": wrong(shape=[10**30, 1, 2, 2]),
    "too few": wrong(data=[0.5] * 7),
    "too many": wrong(data=[0.5] * 9),
    "ragged": wrong(data=[[[[0, 0], [0]]], [[[0, 0], [0, 0]]]]),
    "nested otherwise": wrong(data=[[0.5] * 4] * 2),
    "text": wrong(data=["0.5"] * 8),
    "booleans": wrong(data=[True] * 8),
    "null": wrong(data=None),
    "no data": wrong(data=None, parameters={"binary_data_size": 32}),
    "above 1": wrong(data=[0.5] * 7 + [1.5]),
    "below 0": wrong(data=[0.5] * 7 + [-1e-9]),
    "overflow": wrong(data=[0.5] * 7 + [1e39]),
    "NaN": json.dumps(wrong(data=[float("nan")] * 8)).encode(),
    "infinity": json.dumps(wrong(data=[0.5] * 7)).replace("0.5]", "0.5,1e999]").encode(),
    "levels": wrong(datatype="UINT8", data=[256] * 8),
    "fractions": wrong(datatype="UINT8", data=[0.5] * 8),
    "both": wrong(parameters={"binary_data_size": 32}),
    "shared memory": wrong(parameters={"shared_memory_region": "it"}),
    "unknown output": document(outputs=[{"name": "logits"}]),
    "logits too": document(outputs=[{"name": "p"}, {"name": "logits"}]),
    "classification": document(outputs=[{"name": "p", "parameters": {"classification": 2}}]),
    "id": document(id=7),
    "stamp": document(parameters={"stamp": 7}),
}


def infer_message(x=X, *, datatype="FP32", raw=True, contents=None, **more):
    request = proto.ModelInferRequest(model_name="toy", **more)
    tensor = request.inputs.add(name="pixels", datatype=datatype, shape=x.shape)
    if raw:
        request.raw_input_contents.append(x.tobytes())
    else:
        name = contents or {"FP32": "fp32_contents", "FP64": "fp64_contents", "UINT8": "uint_contents"}[datatype]
        getattr(tensor.contents, name).extend(x.ravel().tolist())
    return request


def twice(request):
    request.raw_input_contents.append(b"")
    return request


def both(request):
    request.inputs[0].contents.fp32_contents.extend([0.5])
    return request


BAD_MESSAGES = {
    "short": infer_message(X[:1]),
    "name": infer_message(),
    "datatype": infer_message(),
    "NaN": infer_message(np.full_like(X, np.nan)),
    "range": infer_message(X * 300, raw=False),
    "twice": twice(infer_message()),
    "both": both(infer_message()),
    "other contents": infer_message(raw=False, contents="fp64_contents"),
    "no contents": proto.ModelInferRequest(model_name="toy", inputs=[infer_message().inputs[0]]),
    "half": infer_message(X.astype("<f2"), datatype="FP16", raw=False, contents="fp32_contents"),
    "no shape": proto.ModelInferRequest(model_name="toy", inputs=[{"name": "pixels", "datatype": "FP32"}]),
    "nothing": proto.ModelInferRequest(model_name="toy"),
    "output": infer_message(outputs=[{"name": "logits"}]),
    "batch": infer_message(np.zeros((9, *SHAPE), np.float32)),
    "id": infer_message(id="x" * 2000),
}
BAD_MESSAGES["short"].inputs[0].shape[0] = 2
BAD_MESSAGES["name"].inputs[0].name = "x"
BAD_MESSAGES["datatype"].inputs[0].datatype = "BYTES"
