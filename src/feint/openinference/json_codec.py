"""Server's codec of the protocol over HTTP: pure functions between bytes, arrays and `messages`.

Tensors travel as JSON, where every float32 keeps its value, or as raw little-endian bytes behind the JSON where the
server lists the extension `binary_tensor_data`; for 256 images of 3×32×32 that is 3 MB instead of 15.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeGuard

import msgspec
from msgspec import UNSET

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
from feint.openinference.model_spec import ModelSpec
from feint.openinference.request_layout import KNOWN_TENSORS, RequestLayout, known_layout, signature_of
from feint.openinference.tensors import Array

KNOWN_HEADER = 2**10  # bytes of JSON before binary tensors whose form is remembered
MAX_HEADER = 2**20  # bytes that the JSON of a binary request may have: names and shapes
JSON = "application/json"
BINARY = "application/octet-stream"
JSON_HEADER = (b"content-type", JSON.encode())
BINARY_HEADER = (b"content-type", BINARY.encode())
LENGTH_HEADER = HEADER_LENGTH.lower()
NO_PARAMETERS = InputParameters()

REQUEST = "an inference request in JSON", "see the protocol"  # what is expected, and the remedy
_decoder = msgspec.json.Decoder(InferRequest)
_raw = msgspec.json.Decoder(msgspec.Raw)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class DecodedRequest:
    """A decoded inference request: inputs `x` (N, …), and what its response is written from."""

    x: Array
    id: str
    stamp: str
    binary: bool


class RequestForm(NamedTuple):
    """All that the JSON of a request says but the numbers in it.

    Attributes:
        inputs: Its inputs, with the data that are in the JSON.
        layout: Their layout.
        places: Places of the data of the other inputs in the bytes behind the JSON.
        end: Number of these bytes.
        id: Its id.
        stamp: Its stamp.
        binary: Whether its answer is to be binary.
    """

    inputs: Sequence[InputTensor]
    layout: RequestLayout
    places: Sequence[slice]
    end: int
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
        if not length and len(body) > long_lists.LONG:
            beside = MAX_HEADER + long_lists.LONG * len(self.model.inputs)
            head, lists = long_lists.cut_lists(body, beside=beside, string=self.model.largest_input)
        form = _known_form(self, head.tobytes()) if length and len(head) <= KNOWN_HEADER else self.form(head)
        return self.request(_inputs(form, rest, lists), form.id, form.stamp, binary=form.binary)

    def form(self, head: memoryview) -> "RequestForm":
        """Return what the JSON of a request says, apart from the numbers in it.

        Anything but a request to this model raises `BadInput`, a batch that is too large `TooLarge`.
        """
        request = decode_request(head)
        parameters = request.parameters or InferParameters()
        layout, (places, end) = self.layout(request.inputs), _places(request.inputs)
        binary = _wants_binary(request.outputs or (), self.model.output, bool(parameters.binary_data_output))
        return RequestForm(request.inputs, layout, places, end, request.id or "", parameters.stamp or "", binary)

    def layout(self, inputs: Sequence[Any]) -> RequestLayout:
        """Return the layout of a request's inputs, which is made once for each; its errors are `RequestLayout`'s."""
        signature = tuple(map(signature_of, inputs))
        make = known_layout if len(signature) <= KNOWN_TENSORS else RequestLayout
        return make(self.model, signature, self.max_batch)

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
        raise BadInput(f"no request ({flaw[:200]})", *REQUEST) from error


def check_outputs(outputs: Any, name: str) -> None:
    """Raise `BadInput` where any output but `name` is requested."""
    if len(outputs) > 1 or any(output.name != name for output in outputs):
        raise BadInput("an output that is not served", f"{name!r} alone", "ask the model's metadata")


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


def _places(inputs: Sequence[InputTensor]) -> tuple[list[slice], int]:
    """Return the places of data in the bytes behind the JSON, for the inputs without data in it, and their end.

    The end is -1 where an input has data in both, or in neither.

    Raises:
        BadInput: One is in shared memory.
    """
    places, end = list[slice](), 0
    for tensor in inputs:
        about, in_json = tensor.parameters or NO_PARAMETERS, tensor.data is not UNSET and _present(tensor.data)
        if about.shared_memory_region is not UNSET and _present(about.shared_memory_region):
            raise BadInput("an input in shared memory", "JSON or binary data", "send the tensor itself")
        size = about.binary_data_size
        if in_json != (size is None) or (size or 0) < 0:
            return places, -1
        if size is not None:
            places.append(slice(end, end := end + size))
    return places, end


def _inputs(form: RequestForm, rest: memoryview, lists: Mapping[bytes, memoryview]) -> Array:
    """Return the inputs of a request, whose data are in its JSON, were cut out of it, or are the bytes behind it."""
    if form.end != len(rest):
        raise BadInput(
            f"a tensor whose data are ambiguous, {len(rest)} bytes behind the JSON",
            "either data in the JSON, or as many bytes behind it as its binary_data_size",
            "count the bytes",
        )
    if len(form.places) == len(form.inputs):
        source = rest.tobytes() if form.layout.by_column else rest  # a part of bytes is cut out in half the time
        return form.layout.from_raw([source[place] for place in form.places])
    arrays, places, others = [], iter(form.places), dict(lists)
    for tensor, kind in zip(form.inputs, form.layout.datatypes, strict=True):
        if not _present(tensor.data):
            arrays.append(tensors.from_raw(rest[next(places)], kind, tensor.shape))
            continue
        data = memoryview(tensor.data)
        data = others.pop(data.tobytes(), data) if lists and len(data) < long_lists.LONG else data
        try:
            arrays.append(tensors.from_json(data, kind, tensor.shape))
        except BadInput as error:
            raise error.with_context(f"the input {tensor.name!r}") from error
    for other in others.values():
        _check_list(other)
    return form.layout.from_arrays(arrays)


def _check_list(data: memoryview) -> None:
    """Check a long list that is no input's, as in parameters, or that another one replaces: nothing has looked at it.

    Raises:
        BadInput: It is no JSON.
        TooLarge: It is more JSON than may be beside the data.
    """
    if len(data) > MAX_HEADER:
        raise TooLarge("too much JSON beside the data", f"at most {MAX_HEADER} bytes", "send less")
    try:
        _raw.decode(data)
    except msgspec.MsgspecError as error:
        raise BadInput(f"no request ({str(error)[:200]})", *REQUEST) from error


@lru_cache(maxsize=1024)
def _response_start(model: ModelSpec) -> bytes:
    return b'{"model_name":%s,"model_version":%s,' % (_quoted(model.name), _quoted(model.version))


@lru_cache(maxsize=4096)
def _quoted(text: str) -> bytes:
    return _encoder.encode(text)
