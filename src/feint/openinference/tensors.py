"""Conversion of the protocol's tensors to a model's inputs: float32 in [0, 1]."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import numpy as np

from feint.errors import BadInput, TooLarge

Array = np.ndarray
SMALL = 2**20  # bytes of JSON below which a list of numbers is read without counting it first


@dataclass(frozen=True)
class Datatype:
    """Numeric type of an input.

    Attributes:
        raw: Memory layout of its numbers.
        number: Their type in JSON.
        contents: Field of a gRPC message that holds them; "" for raw bytes only.
        levels: Divisor that maps them to [0, 1].
    """

    raw: np.dtype
    number: type
    contents: str = ""
    levels: int = 1


DATATYPES = {
    "FP32": Datatype(np.dtype("<f4"), float, "fp32_contents"),
    "FP64": Datatype(np.dtype("<f8"), float, "fp64_contents"),
    "FP16": Datatype(np.dtype("<f2"), float),
    # pixels as files hold them, read as `feint.data` reads them
    "UINT8": Datatype(np.dtype("u1"), int, "uint_contents", 255),
}
FLOAT_DTYPES = {name: DATATYPES[name].raw for name in ("FP32", "FP64")}  # of the servers that a client asks


def datatype(name: str) -> Datatype:
    """Return the datatype of this name.

    Raises:
        BadInput: For one that no image has.
    """
    if name not in DATATYPES:
        raise BadInput("a tensor of another datatype", f"one of {', '.join(DATATYPES)}", "convert the inputs")
    return DATATYPES[name]


def check_shape(shape: Sequence[int], row: tuple[int, ...], most: int) -> None:
    """Check that a tensor's shape is (N, *row) for at most so many inputs N.

    Raises:
        BadInput: For another shape.
        TooLarge: For more inputs.
    """
    if len(shape) != len(row) + 1 or tuple(shape[1:]) != row or shape[0] < 0:
        raise BadInput(f"inputs of shape {list(shape)[:8]}", f"{[-1, *row]}", "ask the model's metadata")
    if shape[0] > most:
        raise TooLarge(f"{shape[0]} inputs", f"at most {most} in one request", "send smaller batches")


def from_raw(raw: Any, kind: Datatype, shape: Sequence[int]) -> Array:
    """Return inputs from little-endian bytes.

    Raises:
        BadInput: Unless they are as many as the shape holds, and in range.
    """
    expected = math.prod(shape) * kind.raw.itemsize
    if len(raw) != expected:
        raise BadInput(f"a tensor of {len(raw)} bytes", f"{expected} for this shape and datatype", "send it whole")
    return in_range(np.frombuffer(raw, kind.raw).reshape(shape), kind)


def from_json(raw: bytes | memoryview, kind: Datatype, shape: Sequence[int]) -> Array:
    """Return inputs from a JSON list, flat in row-major order or nested as the shape is.

    Raises:
        BadInput: For anything else.
    """
    count = math.prod(shape)
    if len(raw) > SMALL and np.count_nonzero(np.frombuffer(raw, np.uint8) == ord(",")) > max(0, count - 1):
        # 28 bytes each, unread
        raise BadInput("more numbers than the shape holds", f"{count}", "send the tensor whole")
    nested = bytes(raw[:64])[1:].lstrip()[:1] == b"["
    try:
        values = _decoder(kind.number, len(shape) if nested else 1).decode(raw)
        dtype = np.int64 if kind.number is int else np.float32
        with np.errstate(over="ignore"):  # 1e39 becomes infinite, and is refused as such
            x = np.array(values, dtype) if nested else np.fromiter(values, dtype, len(values))
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
        raise BadInput(
            "data that are no list of numbers of one shape", "them flat, or nested as the shape", "see the datatype"
        ) from error
    if x.size != count or (nested and x.shape != tuple(shape)):
        raise BadInput(f"{x.size} numbers", f"{count}, flat or nested as the shape", "send the tensor whole")
    return in_range(x.reshape(shape), kind)


def from_contents(contents: Any, kind: Datatype, shape: Sequence[int]) -> Array:
    """Return inputs from the typed contents of a gRPC message.

    Raises:
        BadInput: For contents of another type or number.
    """
    filled = [field.name for field, _ in contents.ListFields()]
    if not kind.contents or filled not in ([], [kind.contents]):
        raise BadInput("contents of another datatype", kind.contents or "raw contents", "see the datatype")
    x = np.array(getattr(contents, kind.contents), np.int64 if kind.number is int else kind.raw)
    if x.size != math.prod(shape):
        raise BadInput(f"{x.size} numbers", f"{math.prod(shape)}", "send the tensor whole")
    return in_range(x.reshape(shape), kind)


def in_range(x: Array, kind: Datatype) -> Array:
    """Return numbers of a datatype as inputs (N, …) float32 in [0, 1], in memory of their own.

    Raises:
        BadInput: For numbers outside the datatype's range.
    """
    if x.size:
        low, high = x.min(), x.max()
        if not (low >= 0 and high <= kind.levels):  # written so that NaN is refused as well
            raise BadInput(
                "inputs that are not numbers in the range",
                f"values in [0, {kind.levels}]",
                "send plain pixels: normalisation is a part of the model",
            )
    inputs = x.astype(np.float32, order="C")
    return inputs if kind.levels == 1 else np.divide(inputs, np.float32(kind.levels), out=inputs)


@cache
def _decoder(number: type, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = number
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)
