"""Codec of the protocol over gRPC: pure functions between messages and arrays, for servers and clients."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
import msgspec
from google.protobuf.message import DecodeError

from feint.errors import BadInput
from feint.openinference import proto, status, tensors
from feint.openinference.json_client_codec import missing, unreadable
from feint.openinference.json_codec import KNOWN_HEADER, DecodedRequest, RequestCodec, check_outputs
from feint.openinference.long_messages import PackedNumbers, cut_numbers, from_packed
from feint.openinference.messages import InputTensor
from feint.openinference.model_spec import MALFORMED, ModelSpec
from feint.openinference.request_layout import RequestLayout
from feint.openinference.tensors import Array

DOMAIN = "feint"  # of the errors' reasons
UNSERVED = "classification", "shared_memory_region"  # parameters of Triton's extensions
TYPE_URL = "type.googleapis.com/google.rpc."


class RequestMessage(NamedTuple):
    """A ModelInferRequest, and apart from it the long packed numbers of its inputs, by their place."""

    message: Any
    packed: Mapping[int, PackedNumbers] = MappingProxyType({})


class MessageForm(NamedTuple):
    """Layout of a message's inputs, whether any has typed contents, and its stamp."""

    layout: RequestLayout
    typed: bool
    stamp: str


def decode_request(message: bytes) -> RequestMessage:
    """Return the request in its bytes. Bytes that are none raise `BadInput`, too many fields `TooLarge`."""
    short, packed = cut_numbers(message) if len(message) > tensors.PIECE else (message, {})
    return RequestMessage(decode("ModelInferRequest", short), packed)


def decode(kind: str, message: bytes) -> Any:
    """Return the message of this kind in its bytes.

    Raises:
        BadInput: For bytes that are none.
    """
    try:
        return proto.MESSAGES[kind].FromString(message)
    except DecodeError as error:
        raise BadInput("bytes that are no message", f"a {kind}", "see the protocol") from error


def read_request(codec: RequestCodec, request: RequestMessage) -> DecodedRequest:
    """Return the request in a message, its numbers raw or typed.

    Raises:
        BadInput: For anything but a request to the codec's model.
    """
    message, packed = request
    raw = [*message.raw_input_contents]
    form = _form(codec, message, raw)
    if raw and (len(raw) != len(message.inputs) or packed or form.typed):
        raise BadInput(
            "tensors with more than one form of contents", "raw or typed contents", "send one for each input"
        )
    if raw:
        x = form.layout.from_raw(raw)
    else:
        kinds = enumerate(zip(message.inputs, form.layout.datatypes, strict=True))
        x = form.layout.from_arrays(_contents(tensor, packed.get(i), kind) for i, (tensor, kind) in kinds)
    return codec.request(x, message.id, form.stamp, binary=bool(raw))


def _contents(tensor: Any, packed: Any, kind: tensors.Datatype) -> Array:
    """Return the typed contents of an input, `packed` or not; an error names the input."""
    try:
        if packed is not None:
            return from_packed(packed, kind, tensor.shape)
        return tensors.from_contents(tensor.contents, kind, tensor.shape)
    except BadInput as error:
        raise error.with_context(f"the input {tensor.name!r}") from error


def _form(codec: RequestCodec, message: Any, raw: Sequence[bytes]) -> MessageForm:
    """Return what a message says beside its numbers; errors are those of `read_request`."""
    if raw and sum(map(len, raw)) <= tensors.PIECE:
        rest = proto.ModelInferRequest()
        rest.CopyFrom(message)
        rest.ClearField("raw_input_contents")
        rest.ClearField("id")
        if rest.ByteSize() <= KNOWN_HEADER:
            return _known_form(codec, rest.SerializeToString())
    return _read_form(codec, message)


@lru_cache(maxsize=1024)
def _known_form(codec: RequestCodec, message: bytes) -> MessageForm:
    """Return the form of a message without its raw contents: a client sends the same with each batch of one size."""
    return _read_form(codec, decode("ModelInferRequest", message))


def _read_form(codec: RequestCodec, message: Any) -> MessageForm:
    inputs = [InputTensor(tensor.name, tuple(tensor.shape), tensor.datatype) for tensor in message.inputs]
    layout = codec.layout(inputs)
    check_outputs(message.outputs, codec.model.output)
    for tensor in (*message.outputs, *message.inputs):
        if unserved := [name for name in UNSERVED if name in tensor.parameters]:
            raise BadInput(f"{unserved[0]}, which is not served", "the tensor itself", "leave the parameter out")
    stamp = message.parameters["stamp"].string_param if "stamp" in message.parameters else ""
    return MessageForm(layout, any(tensor.HasField("contents") for tensor in message.inputs), stamp)


def write_response(model: ModelSpec, request: DecodedRequest, q: Array) -> Any:
    """Return the message of the answer `q` (N, K) float32, in the form in which the inputs came."""
    response = proto.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
    output = response.outputs.add(name=model.output, datatype="FP32", shape=q.shape)
    if request.binary:
        response.raw_output_contents.append(q.astype("<f4", copy=False).tobytes())
    else:
        output.contents.fp32_contents.extend(q.ravel().tolist())
    return response


def encode_request(model: ModelSpec, x: Array, *, stamp: str = "") -> Any:
    """Return the message that requests the answers to `x` (N, …)."""
    request = proto.ModelInferRequest(model_name=model.name, outputs=[{"name": model.output}])
    arrays = model.encode(x)
    for tensor in model.inputs:
        array = arrays[tensor.name]
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
        request.raw_input_contents.append(tensors.to_raw(array, tensors.DATATYPES[tensor.datatype]))
    if stamp:
        request.parameters["stamp"].string_param = stamp
    return request


def decode_response(response: Any, model: ModelSpec, rows: int) -> Array:
    """Return the model's output for `rows` inputs, in the shape that the response gives it.

    Anything else raises `UnreadableResponse`, a response without the output `MissingOutput`.
    """
    try:
        for index, output in enumerate(response.outputs):
            if output.name == model.output:
                shape = tuple(output.shape)
                if response.raw_output_contents:
                    raw = response.raw_output_contents[index]
                    return tensors.from_raw(raw, tensors.DATATYPES[output.datatype], shape)
                return tensors.from_contents(output.contents, tensors.DATATYPES[output.datatype], shape)
    except (*MALFORMED, BadInput) as error:
        failure = unreadable(model, rows, error)
        raise failure from error
    absent = missing(model, rows)
    raise absent


def metadata_of(response: Any) -> dict[str, Any]:
    """Return a model's metadata as in the protocol's JSON."""
    sides = {
        side: [{"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)} for tensor in tensors]
        for side, tensors in (("inputs", response.inputs), ("outputs", response.outputs))
    }
    parameters = {}
    for name, parameter in response.parameters.items():
        with contextlib.suppress(ValueError):  # of another server
            parameters[name] = json.loads(parameter.string_param)
    return {"versions": list(response.versions), "parameters": parameters} | sides


def model_metadata(model: ModelSpec) -> dict[str, Any]:
    """Return the fields of the message with a model's metadata; parameters are JSON."""
    fields = msgspec.to_builtins(model.metadata())
    parameters = fields.pop("parameters").items()
    return fields | {"parameters": {name: {"string_param": json.dumps(value)} for name, value in parameters}}


def encode_error(error: BaseException, reason: str) -> tuple[grpc.StatusCode, str, tuple[tuple[str, Any], ...]]:
    """Return the code, the line and the trailing metadata of an error.

    `grpc-status-details-bin` holds google.rpc.Status with an ErrorInfo, and a RetryInfo where waiting helps;
    `feint-puzzle` the puzzle in JSON; `retry-after` seconds; `grpc-retry-pushback-ms` that waiting does not help.
    """
    code, line, details = grpc.StatusCode[status.status_of(error).grpc], status.line(error), status.details(error)
    message = proto.Status(code=code.value[0], message=line)
    trailing: list[tuple[str, Any]] = []
    if "retry_after" in details:
        trailing.append(("retry-after", f"{details['retry_after']:.9g}"))
        retry = proto.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(details["retry_after"] * 1e9))
        message.details.add(type_url=f"{TYPE_URL}RetryInfo", value=retry.SerializeToString())
    if status.is_final(error):
        trailing.append(("grpc-retry-pushback-ms", "-1"))  # gRPC's own: its clients do not try again
    if "puzzle" in details:
        trailing.append(("feint-puzzle", json.dumps(details["puzzle"])))
    info = proto.ErrorInfo(reason=reason, domain=DOMAIN)
    message.details.add(type_url=f"{TYPE_URL}ErrorInfo", value=info.SerializeToString())
    trailing.append(("grpc-status-details-bin", message.SerializeToString()))
    return code, line, tuple(trailing)
