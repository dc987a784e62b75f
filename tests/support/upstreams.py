"""An Open Inference Protocol v2 server that misbehaves on demand: the upstream of a gateway in tests."""

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

LENGTH = "Inference-Header-Content-Length"
SECRET = "/srv/models/secret.bin at 10.0.0.7"  # what the inside of an upstream looks like


def softmax_of(x: np.ndarray) -> np.ndarray:
    """The undefended probabilities (N, 3) of inputs (N, 1, 2, 2): a softmax regression."""
    z = x.reshape(len(x), -1) @ (np.arange(12).reshape(4, 3) % 5 - 2.0) * 3
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Server(ThreadingHTTPServer):
    """The server, with what a test may set and read.

    Attributes:
        extensions: The extensions in its metadata.
        refuses_binary: Whether raw bytes are answered with 500.
        fault: Called with the handler in place of the answer.
        answer: Function from inputs to probabilities.
        asked: The number of inputs answered.
        sent: Headers of the last inference request.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, context: ssl.SSLContext | None = None):
        super().__init__(("127.0.0.1", port), Handler)
        self.authorizations = []
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.extensions, self.refuses_binary, self.fault = ["binary_tensor_data"], False, None
        self.answer, self.asked, self.bodies, self.connections, self.sent = softmax_of, 0, [], [], {}
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server_port}"

    def process_request(self, request, client_address):
        self.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        pass  # connections are cut on purpose

    def cut(self):
        """End every connection, as a server that is killed does."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.authorizations.append(self.headers["Authorization"])
        tensor = {"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 2, 2]}
        p, z = ({"name": name, "datatype": "FP32", "shape": [-1, 3]} for name in ("p", "logits"))
        pages = {
            "/v2": {"name": "fake", "extensions": self.server.extensions},
            "/v2/models/toy": {"name": "toy", "inputs": [tensor], "outputs": [z, p]},
            "/v2/models/toy/ready": {},
        }
        self.reply(200 if self.path in pages else 404, pages.get(self.path, {"error": SECRET}))

    def do_POST(self):
        server = self.server
        server.authorizations.append(self.headers["Authorization"])
        server.sent = self.headers
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers.get(LENGTH, len(body)))
        server.bodies.append("binary" if length < len(body) else "json")
        if server.refuses_binary and length < len(body):
            self.reply(500, {"error": SECRET})
            return
        request = json.loads(body[:length])
        (tensor,) = request["inputs"]
        flat = tensor["data"] if "data" in tensor else struct.unpack(f"<{np.prod(tensor['shape'])}f", body[length:])
        x = np.array(flat, np.float32).reshape(tensor["shape"])
        server.asked += len(x)
        if server.fault is not None and server.fault(self) is not None:
            return
        p = server.answer(x)
        logits, p = (
            {"name": "logits", "data": (np.log(p) + 1).ravel().tolist()},
            {"name": "p", "data": p.ravel().tolist()},
        )
        outputs = [
            out | {"datatype": "FP32", "shape": [len(x), len(out["data"]) // max(len(x), 1)]} for out in (logits, p)
        ]
        self.reply(200, {"model_name": "toy", "outputs": outputs})

    def reply(self, status, body):
        self.send(status, json.dumps(body).encode())

    def send(self, status, raw, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)
        return True


def killed(handler):
    """End the connection before the answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def half(handler):
    """End the connection in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"outputs": [{"name": "p", "shape": [1, 3], "data": [0.1')
    handler.wfile.flush()
    return killed(handler)


def slow(handler):
    """Answer later than any client waits."""
    time.sleep(1.5)
    return killed(handler)


def says(status, body):
    """Return a fault that answers with this status and body."""
    return lambda handler: handler.send(status, body if isinstance(body, bytes) else json.dumps(body).encode())


def outputs(*tensors):
    """Return a fault that answers with these outputs."""
    return says(200, {"outputs": list(tensors)})


@contextmanager
def upstream(port: int = 0, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A running server, over TLS where it has a `context`."""
    server = Server(port, context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.cut()
        server.server_close()
        thread.join()
