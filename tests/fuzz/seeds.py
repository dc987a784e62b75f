"""What is right for each target, from which its inputs are made by changes: JSON as values, and bytes."""

import json
from typing import Any

import numpy as np
from tests.support import http2

from feint.openinference import proto

X = [0.0, 0.25, 0.5, 1.0]
RAW = np.array(X, "<f4").tobytes()
Q = [0.5, 0.25, 0.25, 0.1, 0.2, 0.7]
GIVEN = {"name": "pixels", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": X}
REQUEST = {"inputs": [GIVEN], "id": "7", "outputs": [{"name": "p"}], "parameters": {"stamp": "s"}}
NESTED = {"inputs": [GIVEN | {"data": [[[[0, 0.5], [1, 1e-9]]]]}]}
LEVELS = {"inputs": [GIVEN | {"datatype": "UINT8", "data": [0, 1, 254, 255]}]}
TEXT = {"name": "text", "shape": [3, 1], "datatype": "BYTES"}
WORDS = {"inputs": [TEXT | {"data": ["a", 'b"\\', "ü["]}], "id": "7"}
NESTED_WORDS = {"inputs": [TEXT | {"data": [["a"], ["data"], ["]"]]}]}
HEAD = {"inputs": [{k: GIVEN[k] for k in ("name", "shape", "datatype")} | {"parameters": {"binary_data_size": 16}}]}
WANTED = HEAD | {"outputs": [{"name": "p", "parameters": {"binary_data": True}}]}
TOLD = {"outputs": [{"name": "p", "shape": [2, 3], "datatype": "FP32", "data": Q}]}
SIZED = {"outputs": [{"name": "p", "shape": [2, 3], "datatype": "FP32", "parameters": {"binary_data_size": 24}}]}
SIDE = {"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 2, 2]}
ABOUT = {"name": "toy", "inputs": [SIDE], "outputs": [SIDE | {"name": "p", "shape": [-1, 3]}], "extensions": ["x"]}
PUZZLE = {"puzzle": {"bits": 5, "client": "a", "query": "b", "expires": 9}}
ERROR = {"error": "no", "parameters": {"retry_after": 1.5} | PUZZLE}


def lined(value: Any, line: str = "", raw: bytes = b"") -> bytes:
    """A first line, JSON, and what is behind it; the line "*" is the length of the JSON."""
    head = json.dumps(value).encode()
    return (str(len(head)) if line == "*" else line).encode() + b"\n" + head + raw


def request(**fields: Any) -> bytes:
    """A request of gRPC."""
    message = proto.ModelInferRequest(model_name="toy", id="7", outputs=[{"name": "p"}])
    message.inputs.add(name="pixels", datatype="FP32", shape=[1, 1, 2, 2], **fields)
    if not fields:
        message.raw_input_contents.append(RAW)
    message.parameters["stamp"].string_param = "s"
    return message.SerializeToString()


def levels() -> bytes:
    """A request of gRPC with whole numbers of one and of two bytes."""
    message = proto.ModelInferRequest(model_name="toy")
    message.inputs.add(name="pixels", datatype="UINT8", shape=[1, 1, 2, 2]).contents.uint_contents.extend(
        [0, 1, 200, 255]
    )
    return message.SerializeToString()


def response(*, raw: bool) -> bytes:
    """An answer of gRPC."""
    message = proto.ModelInferResponse(model_name="toy")
    out = message.outputs.add(name="p", datatype="FP32", shape=[2, 3])
    if raw:
        message.raw_output_contents.append(np.array(Q, "<f4").tobytes())
    else:
        out.contents.fp32_contents.extend(Q)
    return message.SerializeToString()


HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nInference-Header-Content-Length: 2\r\n\r\n{}ab"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
ANSWERS = [(TOLD, "", b""), (SIZED, "*", np.array(Q, "<f4").tobytes())]
JSON: dict[str, list[tuple[Any, str, bytes]]] = {
    "rest_request": [
        (REQUEST, "", b""), (NESTED, "", b""), (LEVELS, "", b""), (HEAD, "*", RAW), (WANTED, "*", RAW),
    ],
    "long_body": [
        (REQUEST, "", b""), (NESTED, "", b""), (LEVELS, "", b""), (WORDS, "-", b""), (NESTED_WORDS, "-", b""),
    ],
    "tensor_in_json": [
        (X, "-" * 36, b""), ([[[[0, 0.5], [1, None]]]], "-" * 11, b""), ([0, 1, 254, 255], "-", b""),
        (["a", "", "ü", None], "-" * 51, b""),
    ],
    "answer_to_client": ANSWERS,
    "failure_to_client": [(ERROR, "", b""), (ERROR, "-" * 28, b""), (PUZZLE, "-" * 29, b"")],
    "answer_of_upstream": ANSWERS,
    "metadata_of_upstream": [(ABOUT, "", b""), (ABOUT, "-", b""), (ABOUT, "--", b"")],
}  # fmt: skip
CALL = http2.CONNECTION_BEGINS + http2.ACKNOWLEDGED + http2.call_begins("/x") + http2.begun_message(4, b"four")
CALLS = (
    http2.call_begins("/x", ("grpc-timeout", "1S"), stream=3) + http2.frame(http2.DATA, 1, 3, bytes(5))
    + http2.frame(http2.RST_STREAM, 0, 3, bytes(4)) + http2.frame(http2.PING, 0, 0, bytes(8))
    + http2.frame(http2.WINDOW_UPDATE, 0, 0, b"\0\0\1\0") + http2.frame(99, 0, 0, b"unknown")
)  # fmt: skip
BYTES: dict[str, list[bytes]] = {
    "rpc_request": [request(), request(contents={"fp32_contents": X})],
    "long_message": [request(), request(contents={"fp32_contents": X}), levels()],
    "tensor_in_bytes": [
        b"-" * 49 + b"\n" + RAW * 4,
        b"-" * 11 + b"\n" + RAW * 2,
        b"-" * 51 + b"\n" + b"\x02\0\0\0\xc3\xbc" * 4,
    ],
    "message_to_client": [response(raw=True), response(raw=False)],
    "message_of_upstream": [response(raw=True), response(raw=False)],
    "metadata_to_client": [json.dumps(ABOUT).encode()],
    "bytes_of_upstream": [b"\n" + HTTP, b"---\n" + CHUNKED, b"-----------\n" + HTTP],
    "connection_of_grpc": [b"\n" + CALL, b"-----------\n" + CALL + CALLS, b"-" * 300 + b"\n" + CALL + CALLS],
} | {name: [lined(*document) for document in documents] for name, documents in JSON.items()}
