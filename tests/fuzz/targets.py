"""What is fuzzed: functions of bytes that raise nothing but what a caller is told to expect, and keep what they take.

Each returns whether the bytes were accepted. Anything that it raises, an AssertionError too, is a finding.
"""

import json
from types import SimpleNamespace
from typing import Any

import httptools
import numpy as np
from google.protobuf.message import DecodeError

from feint.errors import BadInput, Failed, FeintError, Unreachable
from feint.gateway.client import by_rpc, protocol
from feint.gateway.desk import About
from feint.gateway.gateway import Limits
from feint.gateway.models import upstream, upstream_rest, upstream_rpc
from feint.gateway.models.http import Reply, Stale, _Connection
from feint.gateway.settings import Upstream
from feint.gateway.wire import oip, rpc, tensors
from feint.gateway.wire.codec import Request, Wire

CODEC = Wire(About("toy", "pixels", (1, 2, 2), "p", 3), Limits(batch=4))
MODEL = protocol.Model("pixels", (1, 2, 2), "p", 3)
ROWS = 2
KINDS = list(tensors.DATATYPES.values())


def header(data: bytes) -> tuple[str, bytes]:
    """A header with a length, which the first line of the data is, and the rest of the data."""
    line, _, rest = data.partition(b"\n")
    return line.decode("latin-1"), rest


def rest_request(data: bytes) -> bool:
    """A body of REST, as the gateway reads it."""
    length, body = header(data)
    try:
        request = CODEC.read(body, length, "ann")
    except BadInput:
        return False
    _kept(request)
    q = _answer(len(request.asked))
    headers, body = CODEC.write(request, q)
    told = {name.decode().title(): value.decode() for name, value in headers}
    np.testing.assert_array_equal(protocol.answer(MODEL, body, told, len(q)), q)
    return True


def rpc_request(data: bytes) -> bool:
    """A message of gRPC, as the gateway reads it."""
    try:
        request = rpc.read(CODEC, rpc.decoded("ModelInferRequest", data), "ann")
    except BadInput:
        return False
    _kept(request)
    q = _answer(len(request.asked))
    np.testing.assert_array_equal(by_rpc.answer(MODEL, rpc.write(CODEC, request, q), len(q)), q)
    return True


def _kept(request: Request) -> None:
    """The inputs are what a model takes, and come through again to the last bit, in each form."""
    x = request.asked.x
    assert x.dtype == np.float32
    assert x.shape == (len(x), *CODEC.about.shape)
    assert len(x) <= CODEC.limits.batch
    assert x.flags.owndata or x.base is not None
    assert ((x >= 0) & (x <= 1)).all()
    assert max(len(request.id), len(request.asked.stamp)) <= 1024
    for binary in (False, True):
        body, headers = protocol.request(MODEL, x, stamp=request.asked.stamp, binary=binary)
        again = CODEC.read(body, headers.get("Inference-Header-Content-Length", ""), "ann")
        assert again.asked.x.tobytes() == x.tobytes()
        assert (again.asked.stamp, again.binary) == (request.asked.stamp, binary)


def _answer(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).dirichlet(np.ones(3), rows).astype(np.float32).reshape(rows, 3)


def tensor_in_json(data: bytes) -> bool:
    """A list of numbers; the first line chooses a datatype and a number of inputs."""
    choice, raw = header(data)
    kind, rows = KINDS[len(choice) % len(KINDS)], len(choice) % 5
    try:
        x = tensors.from_json(raw, kind, [rows, 1, 2, 2])
    except BadInput:
        return False
    assert (x.shape, x.dtype) == ((rows, 1, 2, 2), np.float32)
    values = np.array(json.loads(raw), np.float64).reshape(x.shape).astype(np.float32) / np.float32(kind.levels)
    np.testing.assert_array_equal(x, values)
    return True


def tensor_in_bytes(data: bytes) -> bool:
    """Numbers as they lie in memory."""
    choice, raw = header(data)
    kind, rows = KINDS[len(choice) % len(KINDS)], len(choice) % 5
    try:
        x = tensors.from_raw(raw, kind, [rows, 1, 2, 2])
    except BadInput:
        return False
    values = np.frombuffer(raw, kind.raw).astype(np.float32).reshape(x.shape) / np.float32(kind.levels)
    np.testing.assert_array_equal(x, values)
    return bool(len(x))


def answer_to_client(data: bytes) -> bool:
    """An answer, as the client of the library reads it."""
    length, body = header(data)
    try:
        p = protocol.answer(MODEL, body, {"Inference-Header-Content-Length": length} if length else {}, ROWS)
    except BadInput:
        return False
    _rows(p)
    return True


def message_to_client(data: bytes) -> bool:
    """An answer of gRPC, as the client of the library reads it."""
    try:
        p = by_rpc.answer(MODEL, oip.MESSAGES["ModelInferResponse"].FromString(data), ROWS)
    except (BadInput, DecodeError):
        return False
    _rows(p)
    return True


def metadata_to_client(data: bytes) -> bool:
    """A model's metadata, as the client of the library reads them."""
    try:
        found = protocol.model(protocol.parsed(data))
    except BadInput:
        return False
    assert min(found.shape) > 0
    assert found.classes > 0
    return True


def failure_to_client(data: bytes) -> bool:
    """An answer that is none: its first line is a status and what Retry-After says."""
    told, body = header(data)
    status = 400 + len(told) % 105
    error = protocol.failure(status, body, {"Retry-After": told} if told else {})
    assert isinstance(error, FeintError)
    assert len(str(error)) < 2000
    return True


def answer_of_upstream(data: bytes) -> bool:
    """An answer, as the gateway reads it from a server behind it."""
    length, body = header(data)
    try:
        raw = upstream_rest.tensor(Reply(200, {"inference-header-content-length": length} if length else {}, body), "p")
        p = _behind()._answer(raw, ROWS)
    except Failed:
        return False
    _rows(p)
    return True


def message_of_upstream(data: bytes) -> bool:
    """An answer of gRPC, as the gateway reads it from a server behind it."""
    try:
        raw = upstream_rpc.tensor(oip.MESSAGES["ModelInferResponse"].FromString(data), "p")
        p = _behind()._answer(raw, ROWS)
    except (Failed, DecodeError):
        return False
    _rows(p)
    return True


PLACES = [
    Upstream(upstream="http://it"),
    Upstream(upstream="http://it", shape=(1, 2, 2), output="p", input="pixels"),
    Upstream(upstream="http://it", shape=(4,), flat=True, classes=3),
]


def metadata_of_upstream(data: bytes) -> bool:
    """A model's metadata, as the gateway reads them; the first line chooses what the settings say."""
    choice, body = header(data)
    try:
        seen = upstream.read(upstream_rest.parsed(body), PLACES[len(choice) % len(PLACES)])
    except (BadInput, Unreachable):
        return False
    assert min(seen.shape) > 0
    assert min(seen.inner) > 0
    assert seen.datatype in upstream.TYPES
    return True


def bytes_of_upstream(data: bytes) -> bool:
    """What comes over the connection to a server behind the gateway; the first line says in which pieces."""
    choice, body = header(data)
    size = 1 + len(choice)
    it, result = _Connection(most=4096), _Future()
    it._transport, it._reply = SimpleNamespace(abort=lambda: None), result  # pyright: ignore[reportAttributeAccessIssue]
    it._parser = httptools.HttpResponseParser(it)
    for start in range(0, len(body), size):
        it.data_received(body[start : start + size])
    it.connection_lost(None)
    assert isinstance(result.error, OSError | httptools.HttpParserError | Stale) or result.reply is not None
    assert result.reply is None or len(result.reply.body) <= 4096 + size
    return result.reply is not None


class _Future:
    """The part of a future that a connection uses."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.error: Exception | None = None

    def done(self) -> bool:
        return self.reply is not None or self.error is not None

    def set_result(self, reply: Reply) -> None:
        self.reply = reply

    def set_exception(self, error: Exception) -> None:
        self.error = error


def _behind() -> Any:
    it = upstream.Upstream.__new__(upstream.Upstream)
    it.at, it._seen = PLACES[0], upstream.Seen("pixels", "FP32", (1, 2, 2), (1, 2, 2), "p", 3)
    return it


def _rows(p: np.ndarray) -> None:
    assert (p.shape, p.dtype) == ((ROWS, 3), np.float32)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    assert (np.abs(p.sum(-1) - 1) < 1.1e-3).all()


ALL = {
    it.__name__: it
    for it in (
        rest_request, rpc_request, tensor_in_json, tensor_in_bytes, answer_to_client, message_to_client,
        metadata_to_client, failure_to_client, answer_of_upstream, message_of_upstream, metadata_of_upstream,
        bytes_of_upstream,
    )
}  # fmt: skip
