"""A small Open Inference Protocol v2 server over a service, written from the protocol, independently of our client."""

import json
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch

from feint.errors import FeintError, OverBudget, ProofRequired, RateLimited, Suspected
from feint.query import Query
from feint.service import Service

LENGTH = "Inference-Header-Content-Length"


class Server(ThreadingHTTPServer):
    """The server.

    A test may set `dies_after` (infer requests), `instead` (answered in place of probabilities) and `bare` (metadata
    that name no inputs and outputs, as MLServer's do by default).
    """

    daemon_threads = True

    def __init__(self, service: Service, shape: Sequence[int], classes: int, *, binary: bool, keys: dict[str, str]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.service, self.shape, self.classes, self.binary, self.keys = service, shape, classes, binary, keys
        self.requests, self.dies_after, self.instead, self.bare = 0, -1, None, False
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        if self.path == "/v2":
            self.reply(
                200, {"name": "test", "version": "1", "extensions": ["binary_tensor_data"] if server.binary else []}
            )
        elif self.path == "/v2/models/toy":
            x = {"name": "pixels", "datatype": "FP32", "shape": [-1, *server.shape]}
            p = {"name": "p", "datatype": "FP32", "shape": [-1, server.classes]}
            label = {"name": "label", "datatype": "INT64", "shape": [-1]}
            tensors = {"inputs": [], "outputs": []} if server.bare else {"inputs": [x], "outputs": [label, p]}
            self.reply(200, {"name": "toy", "platform": "test", **tensors})
        else:
            self.reply(404, {"error": f"no {self.path}"})

    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.requests += 1
        if server.requests > server.dies_after >= 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if server.keys and key not in server.keys:
            self.reply(401, {"error": "no such key"})
            return
        x, stamp = self.tensor(body)
        try:
            p = server.service(Query(x, server.keys.get(key, "nobody"), stamp)).p.numpy()
        except FeintError as error:
            self.refuse(error)
            return
        self.answer(p if server.instead is None else server.instead)

    def tensor(self, body: bytes) -> tuple[torch.Tensor, str]:
        length = int(self.headers.get(LENGTH, len(body)))
        head = json.loads(body[:length])
        (tensor,) = head["inputs"]
        assert tensor["name"] == "pixels"
        count = int(np.prod(tensor["shape"]))
        flat = tensor["data"] if "data" in tensor else struct.unpack(f"<{count}f", body[length:])
        x = torch.tensor(flat, dtype=torch.float32).reshape(tensor["shape"])
        return x, head.get("parameters", {}).get("stamp", "")

    def answer(self, p: np.ndarray) -> None:
        raw = np.asarray(p, "<f4").tobytes()
        label = {"name": "label", "datatype": "INT64", "shape": [len(p)]}
        out = {"name": "p", "datatype": "FP32", "shape": list(p.shape)}
        if not self.server.binary:
            label |= {"data": p.argmax(-1).tolist()}
            self.reply(200, {"model_name": "toy", "outputs": [label, out | {"data": p.ravel().tolist()}]})
            return
        labels = p.argmax(-1).astype("<i8").tobytes()
        label |= {"parameters": {"binary_data_size": len(labels)}}
        out |= {"parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"model_name": "toy", "outputs": [label, out]}).encode()
        self.send(200, head + labels + raw, {LENGTH: str(len(head))})

    def refuse(self, error: FeintError) -> None:
        kinds = {ProofRequired: 428, RateLimited: 429, OverBudget: 429, Suspected: 403}
        body, headers = {"error": str(error)}, {}
        if isinstance(error, ProofRequired):
            body["parameters"] = {"puzzle": vars(error.puzzle)}
        if isinstance(error, RateLimited):
            headers["Retry-After"] = str(error.retry_after)
        self.reply(kinds.get(type(error), 400), body, headers)

    def reply(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps(body).encode(), headers or {})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served(
    service: Service, *, shape: Sequence[int], classes: int, binary: bool = True, keys: dict[str, str] | None = None
) -> Iterator[Server]:
    """A running server of `service`; `keys` are the clients by their API keys."""
    server = Server(service, shape, classes, binary=binary, keys=keys or {})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
