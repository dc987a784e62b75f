"""KServe's server with a softmax regression: python kserve_model.py REST_PORT GRPC_PORT."""

import sys

import numpy as np
from kserve import InferOutput, InferResponse, Model, ModelServer

WEIGHTS = (np.arange(12).reshape(4, 3) % 5 - 2.0) * 3  # those of tests/support/upstreams.py


class Toy(Model):
    """Model with metadata of its own, and logits beside its probabilities."""

    def __init__(self):
        super().__init__("toy")
        self.ready = True

    async def get_input_types(self):
        return [{"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 2, 2]}]

    async def get_output_types(self):
        return [{"name": name, "datatype": "FP64", "shape": [-1, 3]} for name in ("logits", "p")]

    async def predict(self, payload, headers=None, response_headers=None):
        x = payload.inputs[0].as_numpy()
        logits = x.reshape(len(x), -1) @ WEIGHTS
        e = np.exp(logits - logits.max(-1, keepdims=True))
        rows = {"logits": logits, "p": e / e.sum(-1, keepdims=True)}
        outputs = [InferOutput(name, [len(x), 3], "FP64", values.ravel().tolist()) for name, values in rows.items()]
        return InferResponse(payload.id or "one", "toy", outputs)


ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1, enable_docs_url=False).start([Toy()])
