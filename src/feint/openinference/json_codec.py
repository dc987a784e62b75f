"""Codec of the protocol over HTTP: pure functions between bytes, arrays and `messages`, for servers and clients.

Tensors travel as JSON, where every float32 keeps its value, or as raw little-endian bytes behind the JSON where the
server lists the extension `binary_tensor_data`; for 256 images of 3×32×32 that is 3 MB instead of 15.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import msgspec
import numpy as np

from feint.errors import BadInput, TooLarge
from feint.openinference import tensors
from feint.openinference.messages import (
    HEADER_LENGTH,
    MAX_TEXT,
    InferParameters,
    InferRequest,
    InputParameters,
    InputTensor,
    RequestedOutput,
    RequestedOutputParameters,
)
from feint.openinference.model_spec import MALFORMED, ModelSpec
from feint.openinference.tensors import FLOAT_DTYPES, Array

MAX_HEADER = 2**20  # bytes that the JSON of a binary request may have: names and shapes
BYTES_PER_NUMBER = 32  # that one number may take in JSON, separators included
JSON = "application/json"
BINARY = "application/octet-stream"
JSON_HEADER = (b"content-type", JSON.encode())
BINARY_HEADER = (b"content-type", BINARY.encode())
LENGTH_HEADER = HEADER_LENGTH.lower()

_decoder = msgspec.json.Decoder(InferRequest)
_encoder = msgspec.json.Encoder()


class UnreadableResponse(BadInput):
    """Raised for a server's response that is none of the protocol."""


class MissingOutput(UnreadableResponse):
    """Raised for a response without the requested output."""


@dataclass(frozen=True, slots=True)
class DecodedRequest:
    """A decoded inference request: inputs `x` (N, …), and what its response is written from."""

    x: Array
    id: str
    stamp: str
    binary: bool


@dataclass(frozen=True)
class RequestCodec:
    """Server's codec of one model, whose requests hold at most `max_batch` inputs and `max_body` bytes."""

    model: ModelSpec
    max_batch: int
    max_body: int

    @cached_property
    def body_limit(self) -> int:
        """The bytes that a request may have: those of the model's largest batch, or `max_body` if that is fewer."""
        largest = 2 * MAX_HEADER + BYTES_PER_NUMBER * self.max_batch * int(np.prod(self.model.shape))
        return min(self.max_body, largest)

    def read(self, body: bytes | bytearray, length: str) -> DecodedRequest:
        """Return the request in a body.

        Anything but a request to this model raises `BadInput`.

        Args:
            body: Body of the request.
            length: Header with the length of the JSON before binary tensors, "" where there is none.
        """
        head, rest = split_body(body, length)
        request = decode_request(head)
        tensor, parameters = one_input(request.inputs), request.parameters or InferParameters()
        datatype = self.datatype(tensor)
        binary = _wants_binary(request.outputs or (), self.model.output, parameters.binary_data_output)
        x = _input_array(tensor, datatype, rest)
        return self.request(x, request.id or "", parameters.stamp, binary=binary)

    def datatype(self, tensor: Any) -> tensors.Datatype:
        """Return the datatype of an input.

        Raises:
            BadInput: Where its name, datatype or shape is not the model's.
        """
        if tensor.name != self.model.input:
            raise BadInput("an input of another name", repr(self.model.input), "ask the model's metadata")
        datatype = tensors.datatype(tensor.datatype)
        tensors.check_shape(tensor.shape, self.model.shape, self.max_batch)
        return datatype

    def request(self, x: Array, id: str, stamp: str, *, binary: bool) -> DecodedRequest:
        """Return the request for the inputs `x`.

        Raises:
            BadInput: For an endless id or stamp.
        """
        if max(len(stamp), len(id)) > MAX_TEXT:
            raise BadInput("a long id or stamp", f"at most {MAX_TEXT} characters", "shorten it")
        return DecodedRequest(x, id, stamp, binary)

    def write(self, request: DecodedRequest, q: Array) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return headers and body of the answer `q` (N, K) float32 to a request: an `InferResponse`."""
        model = self.model
        head = _response_start(model)
        if request.id:
            head = head[:-1] + b',"id":' + _encoder.encode(request.id) + b","
        tensor = b'%s"outputs":[{"name":%s,"datatype":"FP32","shape":[%d,%d],' % (head, _quoted(model.output), *q.shape)
        if not request.binary:
            body = b'%s"data":%s}]}' % (tensor, _encoder.encode(q.ravel().tolist()))
            return [JSON_HEADER, (b"content-length", b"%d" % len(body))], body
        raw = q.astype("<f4", copy=False).tobytes()
        head = b'%s"parameters":{"binary_data_size":%d}}]}' % (tensor, len(raw))
        lengths = [
            (LENGTH_HEADER.encode(), b"%d" % len(head)),
            (b"content-length", b"%d" % (len(head) + len(raw))),
        ]
        return [BINARY_HEADER, *lengths], head + raw


@lru_cache(maxsize=1024)
def request_codec(model: ModelSpec, max_batch: int, max_body: int) -> RequestCodec:
    """Return the server's codec of a model, which is made once."""
    return RequestCodec(model, max_batch, max_body)


def split_body(body: bytes | bytearray, length: str) -> tuple[memoryview, memoryview]:
    """Return the JSON of a body and the binary tensors behind it.

    Raises:
        BadInput: For a length that does not fit the body.
        TooLarge: For more JSON than names and shapes take.
    """
    view = memoryview(body)
    if not length:
        return view, view[len(view) :]
    if not (length.isascii() and length.isdigit() and len(length) < 16 and int(length) <= len(view)):
        raise BadInput(
            "a header length that the body has not", f"{LENGTH_HEADER} ≤ its length", "count the bytes of the JSON"
        )
    if int(length) > MAX_HEADER:
        raise TooLarge(
            f"{int(length)} bytes of JSON before the tensors", f"at most {MAX_HEADER}", "send a shorter header"
        )
    return view[: int(length)], view[int(length) :]


def decode_request(head: memoryview) -> InferRequest:
    """Return the request in its JSON.

    Raises:
        BadInput: With the place at which it is wrong.
    """
    try:
        return _decoder.decode(head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        flaw = str(error) if isinstance(error, msgspec.MsgspecError) else "text that is no UTF-8, or nested too deep"
        raise BadInput(f"no request ({flaw[:200]})", "an inference request in JSON", "see the protocol") from error


def one_input(inputs: Any) -> Any:
    """Return the one input of a request.

    Raises:
        BadInput: For none, or more than one.
    """
    if len(inputs) != 1:
        raise BadInput(f"{len(inputs)} inputs", "the model's one input", "ask the model's metadata")
    return inputs[0]


def check_outputs(outputs: Any, name: str) -> None:
    """Raise `BadInput` where any output but `name` is requested."""
    if len(outputs) > 1 or any(output.name != name for output in outputs):
        raise BadInput("an output that is not served", f"{name!r} alone", "ask the model's metadata")


def encode_request(model: ModelSpec, x: Array, *, stamp: str = "", binary: bool) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of the request for the answers to `x` (N, …)."""
    raw = np.ascontiguousarray(x, FLOAT_DTYPES[model.datatype])
    tensor: Any = InputTensor(model.input, list(x.shape), model.datatype)
    output = RequestedOutput(model.output)
    request = InferRequest([tensor], outputs=[output], parameters=InferParameters(stamp=stamp) if stamp else None)
    if not binary:
        tensor.data = raw.ravel().tolist()  # numbers, where a server decodes Raw: encoded once, with the rest
        return _encoder.encode(request), {"Content-Type": JSON}
    tensor.parameters = InputParameters(binary_data_size=raw.nbytes)
    output.parameters = RequestedOutputParameters(binary_data=True)
    head = _encoder.encode(request)
    return head + raw.tobytes(), {"Content-Type": BINARY, HEADER_LENGTH: str(len(head))}


def decode_response(body: bytes, headers: Mapping[str, str], model: ModelSpec, rows: int) -> Array:
    """Return the model's output for `rows` inputs, in the shape that the response gives it.

    Anything else raises `UnreadableResponse`, a response without the output `MissingOutput`.

    Args:
        body: Body of the response.
        headers: Headers by their names in lower case.
        model: Model that was asked.
        rows: Number of inputs, for the error message.
    """
    try:
        length = int(headers.get(LENGTH_HEADER, len(body)))
        outputs, start = _decode_json(body[:length])["outputs"], length
        for output in outputs:
            size = int(output.get("parameters", {}).get("binary_data_size", 0))
            if output["name"] == model.output:
                shape = tuple(int(side) for side in output["shape"])
                if "data" in output:
                    return np.array(output["data"], np.float64).reshape(shape)
                raw = body[start : start + size]
                return np.frombuffer(raw, FLOAT_DTYPES[output["datatype"]]).reshape(shape)
            start += size
    except MALFORMED as error:
        failure = unreadable(model, rows, error)
        raise failure from error
    absent = missing(model, rows)
    raise absent


def unreadable(model: ModelSpec, rows: int, reason: object) -> UnreadableResponse:
    """Return the error for a response that cannot be read."""
    return UnreadableResponse(
        f"a response that cannot be read ({str(reason)[:200]})", model.expected_output(rows), "ask again"
    )


def missing(model: ModelSpec, rows: int) -> MissingOutput:
    """Return the error for a response without the model's output."""
    return MissingOutput("a response without the requested output", model.expected_output(rows), "ask again")


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        UnreadableResponse: For anything else.
    """
    try:
        decoded = _decode_json(body)
    except MALFORMED:
        decoded = None
    if not isinstance(decoded, dict):
        raise UnreadableResponse(
            "metadata that are no JSON object", "an Open Inference Protocol v2 server", "check the URL"
        )
    return decoded


def _decode_json(body: bytes) -> Any:
    """Return decoded JSON. Servers in Python write NaN and infinities, which only `json` reads; it is slower."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return json.loads(body)


def _wants_binary(outputs: Sequence[RequestedOutput], name: str, default: bool) -> bool:
    """Return whether bytes are requested. Raises `BadInput` for an output, or a form of it, that is not served."""
    check_outputs(outputs, name)
    parameters = (outputs[0].parameters if outputs else None) or RequestedOutputParameters()
    if parameters.classification is not None or parameters.shared_memory_region is not None:
        raise BadInput("a form of output that is not served", "JSON or binary data", "ask for the tensor itself")
    return default if parameters.binary_data is None else parameters.binary_data


def _input_array(tensor: InputTensor, datatype: tensors.Datatype, rest: memoryview) -> Array:
    parameters = tensor.parameters or InputParameters()
    if parameters.shared_memory_region is not None:
        raise BadInput("an input in shared memory", "JSON or binary data", "send the tensor itself")
    if isinstance(tensor.data, msgspec.Raw) and parameters.binary_data_size is None and not rest:
        return tensors.from_json(memoryview(tensor.data), datatype, tensor.shape)
    if tensor.data is msgspec.UNSET and parameters.binary_data_size == len(rest):
        return tensors.from_raw(rest, datatype, tensor.shape)
    raise BadInput(
        f"a tensor whose data are ambiguous, {len(rest)} bytes behind the JSON",
        "either data in the JSON, or as many bytes behind it as its binary_data_size",
        "count the bytes",
    )


@lru_cache(maxsize=1024)
def _response_start(model: ModelSpec) -> bytes:
    return b'{"model_name":%s,"model_version":%s,' % (_quoted(model.name), _quoted(model.version))


@lru_cache(maxsize=4096)
def _quoted(text: str) -> bytes:
    return _encoder.encode(text)
