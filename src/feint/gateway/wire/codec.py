"""Open Inference Protocol v2 over HTTP, the server's side: pure functions between bytes, `Asked` and answers."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import msgspec
import numpy as np

from feint.errors import BadInput, TooLarge
from feint.gateway.asked import Array, Asked
from feint.gateway.desk import About
from feint.gateway.gateway import Limits
from feint.gateway.wire import tensors

LENGTH = "inference-header-content-length"
HEAD = 2**20  # bytes that the JSON of a binary request may have: names and shapes
TEXT = 1024  # characters of a request's id, and of a stamp
NUMBER = 32  # bytes that one number may take in JSON, with what stands around it
JSON = (b"content-type", b"application/json")
BINARY = (b"content-type", b"application/octet-stream")


class Size(msgspec.Struct, gc=False):
    """The parameters of an input that the protocol names; others are passed over."""

    binary_data_size: int | None = None
    shared_memory_region: msgspec.Raw | None = None


class Given(msgspec.Struct, gc=False):
    """An input tensor. Its data stay as they came until the shape says how many there may be."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: Size | None = None


class How(msgspec.Struct, gc=False):
    """The parameters of a wanted output."""

    binary_data: bool | None = None
    classification: msgspec.Raw | None = None
    shared_memory_region: msgspec.Raw | None = None


class Wanted(msgspec.Struct, gc=False):
    """An output that the client asks for."""

    name: str
    parameters: How | None = None


class Extras(msgspec.Struct, gc=False):
    """The parameters of a request."""

    stamp: str = ""
    binary_data_output: bool = False


class Head(msgspec.Struct, gc=False):
    """An infer request, or the JSON that stands before its binary tensors."""

    inputs: list[Given]
    id: str | None = None
    outputs: list[Wanted] | None = None
    parameters: Extras | None = None


_head = msgspec.json.Decoder(Head)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Request:
    """An infer request as it was read: what is asked, and how the answer is written."""

    asked: Asked
    id: str
    binary: bool


@dataclass(frozen=True)
class Wire:
    """The codec of one model."""

    about: About
    limits: Limits

    @cached_property
    def most(self) -> int:
        """The bytes that a request may have: what this model's largest batch takes, if the limit is not below."""
        return min(self.limits.body, 2 * HEAD + NUMBER * self.limits.batch * int(np.prod(self.about.shape)))

    def read(self, body: bytes | bytearray, length: str, client: str) -> Request:
        """The request in a body; `length` is the header that tells JSON from binary tensors. Raises `BadInput`."""
        head, rest = split(body, length)
        it = parsed(head)
        given, extras = only(it.inputs), it.parameters or Extras()
        kind = self.kind(given)
        binary = _binary(it.outputs or (), self.about.output, extras.binary_data_output)
        return self.request(_tensor(given, kind, rest), client, it.id or "", extras.stamp, binary=binary)

    def kind(self, given: Any) -> tensors.Datatype:
        """The datatype of an input whose name, datatype and shape are this model's. Raises `BadInput`."""
        if given.name != self.about.input:
            raise BadInput("an input of another name", repr(self.about.input), "ask the model's metadata")
        kind = tensors.datatype(given.datatype)
        tensors.sized(given.shape, self.about.shape, self.limits.batch)
        return kind

    def request(self, x: Array, client: str, id: str, stamp: str, *, binary: bool) -> Request:
        """The request for the inputs `x`. Raises `BadInput` for an endless id or stamp."""
        if max(len(stamp), len(id)) > TEXT:
            raise BadInput("a long id or stamp", f"at most {TEXT} characters", "shorten it")
        return Request(Asked(x, client, stamp), id, binary)

    def write(self, request: Request, q: Array) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """The headers and the body of an answer `q` (N, K) float32."""
        about = self.about
        head = (
            _opening(about) if not request.id else _opening(about)[:-1] + b',"id":' + _encoder.encode(request.id) + b","
        )
        tensor = b'%s"outputs":[{"name":%s,"datatype":"FP32","shape":[%d,%d],' % (head, _text(about.output), *q.shape)
        if not request.binary:
            body = b'%s"data":%s}]}' % (tensor, _encoder.encode(q.ravel().tolist()))
            return [JSON, (b"content-length", b"%d" % len(body))], body
        raw = q.astype("<f4", copy=False).tobytes()
        head = b'%s"parameters":{"binary_data_size":%d}}]}' % (tensor, len(raw))
        lengths = [(LENGTH.encode(), b"%d" % len(head)), (b"content-length", b"%d" % (len(head) + len(raw)))]
        return [BINARY, *lengths], head + raw


@lru_cache(maxsize=1024)
def wire(about: About, limits: Limits) -> Wire:
    """The codec of a model."""
    return Wire(about, limits)


def split(body: bytes | bytearray, length: str) -> tuple[memoryview, memoryview]:
    """The JSON of a body and the binary tensors behind it. Raises `BadInput`."""
    whole = memoryview(body)
    if not length:
        return whole, whole[len(whole) :]
    if not (length.isascii() and length.isdigit() and len(length) < 16 and int(length) <= len(whole)):
        raise BadInput("a header length that the body has not", f"{LENGTH} ≤ its length", "count the bytes of the JSON")
    if int(length) > HEAD:
        raise TooLarge(f"{int(length)} bytes of JSON before the tensors", f"at most {HEAD}", "send a shorter header")
    return whole[: int(length)], whole[int(length) :]


def parsed(head: memoryview) -> Head:
    """The request in its JSON. Raises `BadInput`, which says where it is wrong."""
    try:
        return _head.decode(head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        said = str(error) if isinstance(error, msgspec.MsgspecError) else "text that is no UTF-8, or nested too deep"
        raise BadInput(f"no request ({said[:200]})", "an inference request in JSON", "see the protocol") from error


def only(inputs: Any) -> Any:
    """The one input of a request. Raises `BadInput`."""
    if len(inputs) != 1:
        raise BadInput(f"{len(inputs)} inputs", "the model's one input", "ask the model's metadata")
    return inputs[0]


def served(wanted: Any, name: str) -> None:
    """Raise `BadInput` where an output is wanted that does not leave."""
    if len(wanted) > 1 or any(it.name != name for it in wanted):
        raise BadInput("an output that is not served", f"{name!r} alone", "ask the model's metadata")


def _binary(wanted: Any, name: str, default: bool) -> bool:
    """Whether the answer is wanted as bytes. Raises `BadInput` for an output, or a form of it, that does not leave."""
    served(wanted, name)
    how = (wanted[0].parameters if wanted else None) or How()
    if how.classification is not None or how.shared_memory_region is not None:
        raise BadInput("a form of output that is not served", "JSON or binary data", "ask for the tensor itself")
    return default if how.binary_data is None else how.binary_data


def _tensor(given: Given, kind: tensors.Datatype, rest: memoryview) -> Array:
    size = given.parameters or Size()
    if size.shared_memory_region is not None:
        raise BadInput("an input in shared memory", "JSON or binary data", "send the tensor itself")
    if isinstance(given.data, msgspec.Raw) and size.binary_data_size is None and not rest:
        return tensors.from_json(memoryview(given.data), kind, given.shape)
    if given.data is msgspec.UNSET and size.binary_data_size == len(rest):
        return tensors.from_raw(rest, kind, given.shape)
    raise BadInput(
        f"a tensor that is not told right, {len(rest)} bytes behind the JSON",
        "either data in the JSON, or as many bytes behind it as its binary_data_size",
        "count the bytes",
    )


@lru_cache(maxsize=1024)
def _opening(about: About) -> bytes:
    return b'{"model_name":%s,"model_version":%s,' % (_text(about.name), _text(about.version))


@lru_cache(maxsize=4096)
def _text(text: str) -> bytes:
    return _encoder.encode(text)
