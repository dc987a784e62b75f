"""Codec of the protocol over HTTP: pure functions between bytes, arrays and `messages`, for servers and clients.

Tensors travel as JSON, where every float32 keeps its value, or as raw little-endian bytes behind the JSON where the
server lists the extension `binary_tensor_data`; for 256 images of 3×32×32 that is 3 MB instead of 15.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeGuard

import msgspec
import numpy as np

from feint.errors import BadInput, TooLarge
from feint.openinference import long_lists, tensors
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
from feint.openinference.tensors import Array
from feint.signature import Tensor

KNOWN_HEADER = 2**10  # bytes of JSON before binary tensors whose form is remembered
MAX_HEADER = 2**20  # bytes that the JSON of a binary request may have: names and shapes
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


class RequestForm(NamedTuple):
    """Inputs of a request and their datatypes, and all that its JSON says beside them."""

    inputs: Sequence[InputTensor]
    datatypes: Sequence[tensors.Datatype]
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
        if self.model.domain is None:  # its upstream never answered
            return self.max_body
        return min(self.max_body, 2 * MAX_HEADER + self.max_batch * self.model.largest_input)

    def read(self, body: bytes | bytearray, length: str) -> DecodedRequest:
        """Return the request in a body.

        Anything but a request to this model raises `BadInput`; more JSON beside the data than names and shapes take, or
        more strings than its largest batch, `TooLarge`.

        Args:
            body: Body of the request.
            length: Header with the length of the JSON before binary tensors, "" where there is none.
        """
        head, rest = split_body(body, length)
        lists: dict[bytes, memoryview] = {}
        if not length and len(body) > tensors.PIECE:
            beside = MAX_HEADER + long_lists.LONG * len(self.model.inputs)
            head, lists = long_lists.cut_lists(body, beside=beside, string=self.model.largest_input)
        form = _known_form(self, head.tobytes()) if length and len(head) <= KNOWN_HEADER else self.form(head)
        arrays = _input_arrays(form.inputs, form.datatypes, rest, lists)
        return self.request(self.model.decode(arrays), form.id, form.stamp, binary=form.binary)

    def form(self, head: memoryview) -> "RequestForm":
        """Return what the JSON of a request says, apart from the numbers in it.

        Anything but a request to this model raises `BadInput`, a batch that is too large `TooLarge`.
        """
        request = decode_request(head)
        parameters = request.parameters or InferParameters()
        datatypes = self.datatypes(request.inputs)
        binary = _wants_binary(request.outputs or (), self.model.output, bool(parameters.binary_data_output))
        return RequestForm(request.inputs, datatypes, request.id or "", parameters.stamp or "", binary)

    def datatypes(self, inputs: Sequence[Any]) -> list[tensors.Datatype]:
        """Return the datatypes of a request's inputs.

        Names, datatypes or shapes other than the model's raise `BadInput`, a batch that is too large `TooLarge`.
        """
        _check_names([tensor.name for tensor in inputs], self.model)
        datatypes = [tensors.datatype(tensor.datatype) for tensor in inputs]
        for tensor in inputs:
            _check_shape(tensor.shape, self.model.accepted[tensor.name], inputs[0].shape, self.max_batch)
        return datatypes

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
def _known_form(codec: RequestCodec, head: bytes) -> RequestForm:
    """Return the form of a binary request: a client sends the same JSON with each batch of one size."""
    return codec.form(memoryview(head))


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
    view = memoryview(body).toreadonly()  # so that tensors are copied out of it
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
        if re.search(rb"[\[,:]\s*NaN", head):
            raise BadInput("NaN in JSON, which has none", "null for a missing value", "write null") from error
        raise BadInput(f"no request ({flaw[:200]})", "an inference request in JSON", "see the protocol") from error


def check_outputs(outputs: Any, name: str) -> None:
    """Raise `BadInput` where any output but `name` is requested."""
    if len(outputs) > 1 or any(output.name != name for output in outputs):
        raise BadInput("an output that is not served", f"{name!r} alone", "ask the model's metadata")


def encode_request(model: ModelSpec, x: Array, *, stamp: str = "", binary: bool) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of the request for the answers to `x` (N, …)."""
    arrays, kinds = model.encode(x), {tensor.name: tensor.datatype for tensor in model.inputs}
    inputs: Any = [InputTensor(name, list(array.shape), kinds[name]) for name, array in arrays.items()]
    output = RequestedOutput(model.output)
    request = InferRequest(inputs, outputs=[output], parameters=InferParameters(stamp=stamp) if stamp else None)
    pairs = [(array, tensors.DATATYPES[kinds[name]]) for name, array in arrays.items()]
    if not binary:
        for tensor, pair in zip(inputs, pairs, strict=True):
            tensor.data = tensors.to_json(*pair)  # values, where a server decodes Raw: encoded once, with the rest
        return _encoder.encode(request), {"Content-Type": JSON}
    contents = [tensors.to_raw(*pair) for pair in pairs]
    for tensor, content in zip(inputs, contents, strict=True):
        tensor.parameters = InputParameters(binary_data_size=len(content))
    output.parameters = RequestedOutputParameters(binary_data=True)
    head = _encoder.encode(request)
    return b"".join((head, *contents)), {"Content-Type": BINARY, HEADER_LENGTH: str(len(head))}


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
        length = int(headers.get(LENGTH_HEADER) or len(body))
        outputs, start = _decode_json(body[:length])["outputs"], length
        for output in outputs:
            size = int((output.get("parameters") or {}).get("binary_data_size") or 0)
            if output["name"] == model.output:
                shape = tuple(int(side) for side in output.get("shape") or ())
                if output.get("data") is not None and not size:
                    data = np.array(output["data"], np.float64)
                    return data.reshape(shape or data.shape)
                raw = body[start : start + size]
                return tensors.from_raw(raw, tensors.DATATYPES[output["datatype"]], shape)
            start += size
    except (*MALFORMED, BadInput) as error:
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
    if _present(parameters.classification) or _present(parameters.shared_memory_region):
        raise BadInput("a form of output that is not served", "JSON or binary data", "ask for the tensor itself")
    return default if parameters.binary_data is None else parameters.binary_data


def _present(value: object) -> TypeGuard[msgspec.Raw]:
    """Return whether a field of JSON has a value other than null."""
    return isinstance(value, msgspec.Raw) and memoryview(value) != b"null"


def _check_names(names: Sequence[str], model: ModelSpec) -> None:
    """Raise `BadInput` where a request's inputs are not those of the model."""
    unknown = [name for name in names if name not in model.accepted]
    twice = len({*names}) < len(names)
    if unknown or twice or not names:
        required = [tensor.name for tensor in model.inputs]
        absent = [name for name in required if name not in names]
        got = [f"no input {_listed(absent)}"] if absent else []
        got += [f"the unknown input {_listed(unknown)}"] if unknown else []
        got += ["an input more than once"] if twice else []
        raise BadInput(" and ".join(got), _listed(required), "ask the model's metadata")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"{name[:60]!r}" for name in names[:12]) + (", …" if len(names) > 12 else "")


def _check_shape(shape: Sequence[int], tensor: Tensor, first: Sequence[int], most: int) -> None:
    """Check the shape of a tensor, in a request whose first tensor has the shape `first`.

    Raises:
        BadInput: It is another one, or the rows are not as many.
        TooLarge: The rows are more than `most`.
    """
    if not shape or min(shape) < 0 or not (tuple(shape[1:]) == tensor.shape or _fits(shape[1:], tensor.shape)):
        expected = f"[N, {', '.join(map(str, tensor.shape))}] with N ≥ 0"
        raise BadInput(f"{tensor.name[:60]!r} of shape {list(shape)[:8]}", expected, "ask the model's metadata")
    if shape[0] > most:
        raise TooLarge(f"{shape[0]} inputs", f"at most {most} in one request", "send smaller batches")
    if shape[0] != first[0]:
        raise BadInput(f"inputs of {first[0]} and of {shape[0]} rows", "one number of rows", "send the tensors whole")


def _fits(shape: Sequence[int], expected: tuple[int, ...]) -> bool:
    """Return whether an input has the expected shape, in which -1 is any size and a last side of 1 may be left out."""
    known = len(shape) == len(expected) or (len(shape) == len(expected) - 1 and expected[-1] == 1)
    return known and all(side in (size, -1) for size, side in zip(shape, expected, strict=False))


def _input_arrays(
    inputs: Sequence[InputTensor],
    datatypes: Sequence[tensors.Datatype],
    rest: memoryview,
    lists: Mapping[bytes, memoryview],
) -> dict[str, Array]:
    """Return the tensors of a request, in JSON, cut out of it, or in the bytes behind it, by name."""
    arrays, start = {}, 0
    for tensor, datatype in zip(inputs, datatypes, strict=True):
        parameters = tensor.parameters or InputParameters()
        size = parameters.binary_data_size
        if _present(parameters.shared_memory_region):
            raise BadInput("an input in shared memory", "JSON or binary data", "send the tensor itself")
        if _present(tensor.data) and size is None:
            data = memoryview(tensor.data)
            data = lists.get(data.tobytes(), data) if lists and len(data) < long_lists.LONG else data
            arrays[tensor.name] = tensors.from_json(data, datatype, tensor.shape)
        elif not _present(tensor.data) and size is not None and 0 <= size <= len(rest) - start:
            arrays[tensor.name] = tensors.from_raw(rest[start : start + size], datatype, tensor.shape)
            start += size
        else:
            start = -1
            break
    if start != len(rest):
        raise BadInput(
            f"a tensor whose data are ambiguous, {len(rest)} bytes behind the JSON",
            "either data in the JSON, or as many bytes behind it as its binary_data_size",
            "count the bytes",
        )
    return arrays


@lru_cache(maxsize=1024)
def _response_start(model: ModelSpec) -> bytes:
    return b'{"model_name":%s,"model_version":%s,' % (_quoted(model.name), _quoted(model.version))


@lru_cache(maxsize=4096)
def _quoted(text: str) -> bytes:
    return _encoder.encode(text)
