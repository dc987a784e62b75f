"""Wrong inputs by tritonclient, and right ones in another order: python wrong_inputs_client.py HOST:PORT HOST:PORT KEY.

Prints JSON: for REST and gRPC the error of each case, or its answer.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as rpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

WEB, RPC, KEY = sys.argv[1:]
AGE, HOUSING = np.array([[20.0]]), np.array([["own"]], object)
ROW = {"age": AGE, "housing": HOUSING}
CASES = {  # by name: the model, and its tensors by name
    "columns in another order": ("table", {"housing": HOUSING, "age": AGE}),
    "a column missing": ("table", {"age": AGE}),
    "an extra column": ("table", ROW | {"salary": AGE}),
    "a renamed column": ("table", {"agee": AGE, "housing": HOUSING}),
    "an unknown category": ("table", ROW | {"housing": np.array([["castle"]], object)}),
    "NaN": ("table", ROW | {"age": np.array([[np.nan]])}),
    "words for a number": ("table", ROW | {"age": np.array([["twenty"]], object)}),
    "a number for words": ("table", ROW | {"housing": np.array([[1.0]])}),
    "a text too long": ("text", {"text": np.array([["a" * 17]], object)}),
    "invalid UTF-8": ("text", {"text": np.array([[b"\xff\xfe"]], object)}),
    "numbers for a text": ("text", {"text": np.array([[1.0]])}),
    "tokens out of the vocabulary": ("tokens", {"input_ids": np.array([[1, 100]])}),
    "a negative token": ("tokens", {"input_ids": np.array([[1, -1]])}),
    "a sequence too long": ("tokens", {"input_ids": np.zeros((1, 9), np.int64)}),
    "fractions for tokens": ("tokens", {"input_ids": np.array([[0.5]])}),
    "an image above 1": ("image", {"x": np.full((1, 1, 2, 2), 255.0, np.float32)}),
    "an image laid out otherwise": ("image", {"x": np.zeros((1, 2, 2, 1), np.float32)}),
    "an image as text": ("image", {"x": np.array([["pixels"]], object)}),
    "an API with an error": ("api", ROW),
    "an API with a rate limit": ("api", ROW),
    "an API with a page": ("api", ROW),
    "an API that takes other fields": ("api", ROW),
}
DATATYPES = {"float64": "FP64", "float32": "FP32", "int64": "INT64", "object": "BYTES"}


def infer(kit, client, model, tensors):
    inputs = []
    for name, x in tensors.items():
        tensor = kit.InferInput(name, list(x.shape), DATATYPES[x.dtype.name])
        tensor.set_data_from_numpy(x)
        inputs.append(tensor)
    try:
        said = {"authorization": f"Bearer {KEY}"}
        return client.infer(model, inputs, headers=said).as_numpy("p").tolist()
    except InferenceServerException as error:
        return error.message()


results = {}
for wire, kit, address in (("REST", http, WEB), ("gRPC", rpc, RPC)):
    client = kit.InferenceServerClient(address)
    results[wire] = {name: infer(kit, client, *case) for name, case in CASES.items()}
    client.close()
print(json.dumps(results))
