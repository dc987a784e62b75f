"""Bare server to compare with: the same stack, protocol and model, without a defense."""

import sys

import msgspec
import numpy as np
import onnxruntime
import uvicorn
import uvloop

from benchmarks.load import bare_grpc

LENGTH = b"inference-header-content-length"


class Tensor(msgspec.Struct):
    """Input of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float] | None = None


class Infer(msgspec.Struct):
    """Inference request."""

    inputs: list[Tensor]


def main(path: str, port: str, grpc_port: str) -> None:
    """Serve the ONNX file at `path` over HTTP and gRPC."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    decoder, encoder = msgspec.json.Decoder(Infer), msgspec.json.Encoder()

    def infer(x: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([output], {name: x})[0])

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": event["type"] + ".complete"})
                if event["type"] == "lifespan.shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        length = dict(scope["headers"]).get(LENGTH)
        head = decoder.decode(body[: int(length)] if length else body).inputs[0]
        flat = np.frombuffer(body, "<f4", offset=int(length)) if length else np.array(head.data, np.float32)
        p = infer(flat.reshape(head.shape))
        answer = {"name": output, "shape": p.shape, "datatype": "FP32"}
        headers = [(b"content-type", b"application/json")]
        if length:
            raw = p.tobytes()
            response = encoder.encode({"outputs": [answer | {"parameters": {"binary_data_size": len(raw)}}]})
            headers = [(b"content-type", b"application/octet-stream"), (LENGTH, str(len(response)).encode())]
            response += raw
        else:
            response = encoder.encode({"outputs": [answer | {"data": p.ravel().tolist()}]})
        headers.append((b"content-length", str(len(response)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": response})

    async def run() -> None:
        rpc = await bare_grpc.started(infer, name, output, int(grpc_port))
        await uvicorn.Server(uvicorn.Config(app, port=int(port), log_level="warning")).serve()
        await rpc.stop(0)

    uvloop.run(run())


if __name__ == "__main__":
    main(*sys.argv[1:])
