"""What is fuzzed: functions of bytes that raise nothing but what a caller is told to expect, and keep what they take.

Each returns whether the bytes were accepted. Anything that it raises, an AssertionError too, is a finding.
"""

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import grpc
import httptools
import numpy as np
from google.protobuf.message import DecodeError
from h2.exceptions import H2Error

from feint.client import remote_service
from feint.errors import BadInput, Failed, FeintError
from feint.gateway.backends import upstream
from feint.gateway.backends.http import Reply, Stale, _PooledConnection
from feint.gateway.server.rpc_call import StreamedCall
from feint.gateway.server.rpc_connection import RpcConnection
from feint.gateway.settings import UpstreamSettings
from feint.openinference import grpc_codec, json_client_codec, long_lists, long_messages, proto, tensors
from feint.openinference.json_codec import DecodedRequest, RequestCodec
from feint.openinference.model_spec import ModelSpec, spec_from_metadata
from feint.openinference.status import error_of_http
from feint.signature import Pixels, Tensor, Text

MODEL = ModelSpec("toy", Pixels((1, 2, 2)), "p", 3, (Tensor("pixels", "FP32", (1, 2, 2)),))
CODEC = RequestCodec(MODEL, max_batch=4, max_body=2**26)
TEXTS = RequestCodec(ModelSpec("texts", Text(8), "p", 3), max_batch=4, max_body=2**26)
LENGTH = "inference-header-content-length"
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
        request = CODEC.read(body, length)
    except BadInput:
        return False
    _kept(request)
    q = _answer(len(request.x))
    written, body = CODEC.write(request, q)
    headers = {name.decode(): value.decode() for name, value in written}
    np.testing.assert_array_equal(json_client_codec.decode_response(body, headers, MODEL, len(q)), q)
    return True


def rpc_request(data: bytes) -> bool:
    """A message of gRPC, as the gateway reads it."""
    try:
        request = grpc_codec.read_request(CODEC, grpc_codec.decode_request(data))
    except BadInput:
        return False
    _kept(request)
    q = _answer(len(request.x))
    response = grpc_codec.write_response(MODEL, request, q)
    np.testing.assert_array_equal(grpc_codec.decode_response(response, MODEL, len(q)), q)
    return True


def long_body(data: bytes) -> bool:
    """A body in JSON that counts as long, of images or texts: what is read of it is what it means as a short one."""
    choice, body = header(data)
    codec = TEXTS if choice else CODEC
    try:
        with patch.object(tensors, "PIECE", 24), patch.multiple(long_lists, LONG=8, PLACE="~^", PIECE=24):
            x = codec.read(body, "").x
    except BadInput:
        return False
    np.testing.assert_array_equal(x, codec.read(body, "").x)
    return True


def long_message(data: bytes) -> bool:
    """A message of gRPC that counts as long: what is read of it is what it means as a short one."""
    try:
        with patch.object(tensors, "PIECE", 8), patch.object(long_messages, "PIECE", 2):
            x = grpc_codec.read_request(CODEC, grpc_codec.decode_request(data)).x
    except BadInput:
        return False
    short = grpc_codec.RequestMessage(grpc_codec.decode("ModelInferRequest", data))
    np.testing.assert_array_equal(x, grpc_codec.read_request(CODEC, short).x)
    return True


def _kept(request: DecodedRequest) -> None:
    """The inputs are what a model takes, and come through again to the last bit, in each form."""
    x = request.x
    assert x.dtype == np.float32
    assert x.shape == (len(x), *MODEL.domain.shape)
    assert len(x) <= CODEC.max_batch
    assert x.flags.owndata or x.base is not None
    assert ((x >= 0) & (x <= 1)).all()
    assert max(len(request.id), len(request.stamp)) <= 1024
    for binary in (False, True):
        body, headers = json_client_codec.encode_request(MODEL, x, stamp=request.stamp, binary=binary)
        again = CODEC.read(body, headers.get("Inference-Header-Content-Length", ""))
        assert again.x.tobytes() == x.tobytes()
        assert again.stamp == request.stamp
        assert again.binary == binary


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
    assert x.shape == (rows, 1, 2, 2)
    values = np.array(json.loads(raw), object).reshape(x.shape)
    expected = [np.nan if value is None and kind.number is not str else value for value in values.ravel().tolist()]
    if x.dtype == object:
        assert x.ravel().tolist() == values.ravel().tolist()
    else:
        assert x.dtype in (kind.dtype, np.float64)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(x.ravel(), np.array(expected, x.dtype))
    return True


def tensor_in_bytes(data: bytes) -> bool:
    """Numbers as they lie in memory."""
    choice, raw = header(data)
    kind, rows = KINDS[len(choice) % len(KINDS)], len(choice) % 5
    try:
        x = tensors.from_raw(raw, kind, [rows, 1, 2, 2])
    except BadInput:
        return False
    assert x.shape == (rows, 1, 2, 2)
    assert tensors.to_raw(x, kind) == raw
    return bool(len(x))


def answer_to_client(data: bytes) -> bool:
    """An answer, as the client of the library reads it."""
    length, body = header(data)
    try:
        output = json_client_codec.decode_response(body, {LENGTH: length} if length else {}, MODEL, ROWS)
        p = remote_service.probabilities(output, MODEL, ROWS)
    except BadInput:
        return False
    _rows(p)
    return True


def message_to_client(data: bytes) -> bool:
    """An answer of gRPC, as the client of the library reads it."""
    try:
        output = grpc_codec.decode_response(proto.MESSAGES["ModelInferResponse"].FromString(data), MODEL, ROWS)
        p = remote_service.probabilities(output, MODEL, ROWS)
    except (BadInput, DecodeError):
        return False
    _rows(p)
    return True


def metadata_to_client(data: bytes) -> bool:
    """A model's metadata, as the client of the library reads them."""
    try:
        spec = spec_from_metadata("toy", json_client_codec.decode_object(data))
    except BadInput:
        return False
    assert spec.domain is not None
    assert {*spec.encode(spec.domain.sample(2, 0))} == {tensor.name for tensor in spec.inputs}
    return True


def failure_to_client(data: bytes) -> bool:
    """An answer that is none: its first line is a status and what Retry-After says."""
    retry_after, body = header(data)
    status = 400 + len(retry_after) % 105
    error = error_of_http(status, body, {"retry-after": retry_after} if retry_after else {})
    assert isinstance(error, FeintError)
    assert len(str(error)) < 2000
    return True


def answer_of_upstream(data: bytes) -> bool:
    """An answer, as the gateway reads it from a server behind it."""
    length, body = header(data)
    try:
        output = json_client_codec.decode_response(body, {LENGTH: length} if length else {}, MODEL, ROWS)
        p = _behind()._probabilities(output, ROWS)
    except (Failed, json_client_codec.UnreadableResponse):
        return False
    _rows(p)
    return True


def message_of_upstream(data: bytes) -> bool:
    """An answer of gRPC, as the gateway reads it from a server behind it."""
    try:
        output = grpc_codec.decode_response(proto.MESSAGES["ModelInferResponse"].FromString(data), MODEL, ROWS)
        p = _behind()._probabilities(output, ROWS)
    except (Failed, json_client_codec.UnreadableResponse, DecodeError):
        return False
    _rows(p)
    return True


PLACES = [
    UpstreamSettings(upstream="http://it"),
    UpstreamSettings(upstream="http://it", shape=(1, 2, 2), output="p", input="pixels"),
    UpstreamSettings(upstream="http://it", shape=(4,), flat=True, classes=3),
]


def metadata_of_upstream(data: bytes) -> bool:
    """A model's metadata, as the gateway reads them; the first line chooses what the settings say."""
    choice, body = header(data)
    try:
        spec = upstream.read_spec(json_client_codec.decode_object(body), PLACES[len(choice) % len(PLACES)], "toy")
    except BadInput:
        return False
    assert spec.domain is not None
    assert {*spec.encode(spec.domain.sample(2, 0))} == {tensor.name for tensor in spec.inputs}
    return True


def bytes_of_upstream(data: bytes) -> bool:
    """What comes over the connection to a server behind the gateway; the first line says in which pieces."""
    choice, body = header(data)
    size = 1 + len(choice)
    connection, result = _PooledConnection(most=4096), _Future()
    connection._transport, connection._reply = SimpleNamespace(abort=lambda: None), result  # pyright: ignore[reportAttributeAccessIssue]
    connection._parser = httptools.HttpResponseParser(connection)
    for start in range(0, len(body), size):
        connection.data_received(body[start : start + size])
    connection.connection_lost(None)
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


class _Client:
    """The transport of a client, who reads what comes."""

    def __init__(self) -> None:
        self.closed = self.paused = False

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def _names(kind: type[BaseException]) -> set[str]:
    return {kind.__name__}.union(*map(_names, kind.__subclasses__()))


REFUSALS = _names(H2Error) | {"header fields that are too large", "settings that there are not"}


def connection_of_grpc(data: bytes) -> bool:
    """What comes over a connection of gRPC; the first line says in which pieces. It is taken if a call is answered."""
    choice, body = header(data)
    return asyncio.run(_connection_of_grpc(body, 1 + len(choice)))


async def _connection_of_grpc(body: bytes, size: int) -> bool:
    answered, refused, client = [], [], _Client()

    async def answer(call: StreamedCall) -> None:
        try:
            answered.append(await call.message(1000, 1.0))
            await call.send(b"answer")
        except BadInput as error:
            await call.fail(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    connection = RpcConnection(answer, set(), most=1, arrive=1.0)
    refuse = connection.refuse
    with patch.object(connection, "refuse", lambda wrong: refused.append(wrong) or refuse(wrong)):
        connection.connection_made(client)
        for start in range(0, len(body), size):
            if not client.closed:
                connection.data_received(body[start : start + size])
            await asyncio.sleep(0)
        while client.paused and not client.closed:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
    calls = connection.calls
    connection.connection_lost(None)
    if calls:
        await asyncio.wait(calls, timeout=1.0)
    assert all(call.done() for call in calls)
    assert {*refused} <= REFUSALS, refused
    assert all(len(message) <= 1000 for message in answered)
    return bool(answered)


def _behind() -> Any:
    model = upstream.UpstreamModel.__new__(upstream.UpstreamModel)
    model.at, model._spec = PLACES[0], MODEL
    return model


def _rows(p: np.ndarray) -> None:
    assert p.shape == (ROWS, 3)
    assert p.dtype == np.float32
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    assert (np.abs(p.sum(-1) - 1) < 1.1e-3).all()


ALL = {
    target.__name__: target
    for target in (
        rest_request, rpc_request, long_body, long_message, tensor_in_json, tensor_in_bytes, answer_to_client,
        message_to_client, metadata_to_client, failure_to_client, answer_of_upstream, message_of_upstream,
        metadata_of_upstream, bytes_of_upstream, connection_of_grpc,
    )
}  # fmt: skip
