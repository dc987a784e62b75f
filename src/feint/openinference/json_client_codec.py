"""Client's codec of the protocol over HTTP: requests are encoded, and responses decoded."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from feint.errors import BadInput
from feint.openinference import tensors
from feint.openinference.json_codec import BINARY, JSON, LENGTH_HEADER
from feint.openinference.messages import (
    HEADER_LENGTH,
    InferParameters,
    InferRequest,
    InputParameters,
    InputTensor,
    RequestedOutput,
    RequestedOutputParameters,
)
from feint.openinference.model_spec import MALFORMED, ModelSpec
from feint.openinference.tensors import Array

_encoder = msgspec.json.Encoder()


class UnreadableResponse(BadInput):
    """Raised for a server's response that is none of the protocol."""


class MissingOutput(UnreadableResponse):
    """Raised for a response without the requested output."""


def encode_request(model: ModelSpec, x: Array, *, stamp: str = "", binary: bool) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of the request for the answers to `x` (N, …)."""
    arrays, kinds = model.encode(x), {tensor.name: tensor.datatype for tensor in model.inputs}
    inputs: Any = [InputTensor(name, array.shape, kinds[name]) for name, array in arrays.items()]
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
