"""Tensors of the protocol as NumPy arrays of their own types. Strings are object arrays, in which None is a null."""

import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import numpy as np

from feint.errors import BadInput

Array = np.ndarray
PIECE = 2**16  # bytes of JSON that are decoded at once: a list takes 30 times the memory of its array
BESIDE = 256  # bytes of brackets and white space that a long list may have beside each string
LENGTH = struct.Struct("<I")  # of a string in raw contents, before its UTF-8
NUMBER = struct.Struct("<d")
COMMA, OPEN, CLOSE = b",[]"
NAMES = {str: "strings in UTF-8", int: "integers of the datatype", float: "finite numbers", bool: "booleans"}
FLAT = bytes.maketrans(b"[]", b"  ")
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)  # of JSON


@dataclass(frozen=True)
class Datatype:
    """Type of a tensor's elements.

    Attributes:
        dtype: Type of the array, in the memory layout of raw contents.
        number: Type in JSON.
        contents: Field of a gRPC message that holds them; "" for raw bytes only.
    """

    dtype: np.dtype
    number: type
    contents: str = ""


DATATYPES = {
    "BOOL": Datatype(np.dtype("?"), bool, "bool_contents"),
    "UINT8": Datatype(np.dtype("u1"), int, "uint_contents"),
    "UINT16": Datatype(np.dtype("<u2"), int, "uint_contents"),
    "UINT32": Datatype(np.dtype("<u4"), int, "uint_contents"),
    "UINT64": Datatype(np.dtype("<u8"), int, "uint64_contents"),
    "INT8": Datatype(np.dtype("i1"), int, "int_contents"),
    "INT16": Datatype(np.dtype("<i2"), int, "int_contents"),
    "INT32": Datatype(np.dtype("<i4"), int, "int_contents"),
    "INT64": Datatype(np.dtype("<i8"), int, "int64_contents"),
    "FP16": Datatype(np.dtype("<f2"), float),
    "FP32": Datatype(np.dtype("<f4"), float, "fp32_contents"),
    "FP64": Datatype(np.dtype("<f8"), float, "fp64_contents"),
    "BYTES": Datatype(np.dtype(object), str, "bytes_contents"),
}


def datatype(name: str) -> Datatype:
    """Return the datatype of this name.

    Raises:
        BadInput: The protocol has none.
    """
    if name not in DATATYPES:
        raise BadInput("a tensor of another datatype", f"one of {', '.join(DATATYPES)}", "convert the inputs")
    return DATATYPES[name]


def from_raw(raw: Any, kind: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in raw contents: little-endian numbers, or strings behind their lengths in four bytes.

    Raises:
        BadInput: The bytes are not as many as the shape holds, or a string is no UTF-8.
    """
    if kind.number is str:
        return strings([*_split(memoryview(raw), math.prod(shape))], shape)
    expected = math.prod(shape) * kind.dtype.itemsize
    if len(raw) != expected:
        raise BadInput(f"a tensor of {len(raw)} bytes", f"{expected} for this shape and datatype", "send it whole")
    return np.frombuffer(raw, kind.dtype).reshape(shape)


def to_raw(array: Array, kind: Datatype) -> bytes:
    """Return the raw contents of a tensor; a null becomes an empty string."""
    if kind.number is not str:
        return np.ascontiguousarray(array, kind.dtype).tobytes()
    codes = [("" if text is None else text).encode() for text in array.ravel()]
    return b"".join(LENGTH.pack(len(code)) + code for code in codes)


def from_json(raw: bytes | memoryview, kind: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in a JSON list, flat in row-major order or nested as the shape is.

    Where a number is null, the array is float64 and has a NaN there.

    Raises:
        BadInput: For anything else.
    """
    count = math.prod(shape)
    nested = bytes(raw[:64])[1:].lstrip()[:1] == b"["
    try:
        if len(raw) > PIECE and kind.number is not str:
            return _long_list(raw, kind, tuple(shape) if nested else (count,)).reshape(shape)
        depth = len(shape) if nested else 1
        x = _long_strings(raw, depth, count) if len(raw) > PIECE else _array(raw, kind, depth)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError) as error:
        raise BadInput(
            f"data that are no list of {count} {NAMES[kind.number]}", "them flat, or nested as the shape",
            "see the datatype",
        ) from error  # fmt: skip
    if x.size != count or (nested and x.shape != tuple(shape)):
        raise BadInput(f"{x.size} values", f"{count}, flat or nested as the shape", "send the tensor whole")
    return x.reshape(shape)


def to_json(array: Array, kind: Datatype) -> list[Any]:
    """Return the flat list of a tensor, in which a NaN becomes null."""
    if kind.number is not float:
        return array.ravel().astype(kind.dtype).tolist()
    values = array.ravel().astype(kind.dtype).tolist()
    return [None if math.isnan(value) else value for value in values] if np.isnan(array).any() else values


def from_contents(contents: Any, kind: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in the typed contents of a gRPC message.

    Raises:
        BadInput: For contents of another type or number.
    """
    filled = [field.name for field, _ in contents.ListFields()]
    if not kind.contents or filled not in ([], [kind.contents]):
        raise BadInput("contents of another datatype", kind.contents or "raw contents", "see the datatype")
    values = getattr(contents, kind.contents)
    if len(values) != math.prod(shape):
        raise BadInput(f"{len(values)} values", f"{math.prod(shape)}", "send the tensor whole")
    if kind.number is str:
        return strings(list(values), shape)
    try:
        array = np.empty(len(values), kind.dtype)
        for start in range(0, len(values), PIECE):  # other threads run between two pieces
            array[start : start + PIECE] = np.array(values[start : start + PIECE], kind.dtype)
        return array.reshape(shape)
    except OverflowError as error:
        raise BadInput("a number that the datatype has not", "numbers in its range", "see the datatype") from error


def strings(codes: Sequence[bytes | memoryview], shape: Sequence[int]) -> Array:
    """Return UTF-8 strings as an object array.

    Raises:
        BadInput: One is no UTF-8, or they are not as many as the shape holds.
    """
    array = np.empty(len(codes), object)
    try:
        array[:] = [str(code, "utf-8") for code in codes]
        return array.reshape(shape)
    except UnicodeDecodeError as error:
        raise BadInput(f"bytes that are no UTF-8 ({error.reason})", "text in UTF-8", "encode it") from error
    except ValueError as error:
        raise BadInput(f"{len(codes)} strings", f"{math.prod(shape)}", "send the tensor whole") from error


def _split(raw: memoryview, most: int) -> Iterator[memoryview]:
    """Yield the strings in raw contents."""
    start = 0
    for _ in range(most):
        if start + 4 > len(raw):
            break
        (length,) = LENGTH.unpack_from(raw, start)
        yield raw[start + 4 : start + 4 + length]
        start += 4 + length
    if start != len(raw):
        raise BadInput(f"a tensor of {len(raw)} bytes", "four bytes of length before each string", "send it whole")


def _long_list(raw: bytes | memoryview, kind: Datatype, shape: tuple[int, ...]) -> Array:
    """Return the numbers (count,) in a long JSON list that is nested as the shape.

    They are decoded a piece at a time, straight into the array: the whole list would take 16 times the memory of its
    text, and other threads could not run meanwhile.

    Raises:
        ValueError: It is another list.
    """
    codes, count = np.frombuffer(raw, np.uint8), math.prod(shape)
    x, done, start = np.empty(count, kind.dtype), 0, 0
    while start < len(codes):
        end = _end(codes, start)
        piece = codes[start:end]
        values = _array(b"[%s]" % piece.tobytes().translate(FLAT), kind, 1)
        if not len(values) or done + len(values) > count:
            raise ValueError("more numbers than the shape holds, or none behind a comma")
        _check_brackets(piece, shape, done)
        if values.dtype == np.float64 and kind.number is int:  # one of them is null
            x = x.astype(np.float64, copy=False)
        x[done : done + len(values)] = values
        done, start = done + len(values), end + 1
    if done != count:
        raise ValueError("fewer numbers than the shape holds")
    return x


def _long_strings(raw: bytes | memoryview, depth: int, count: int) -> Array:
    """Return `count` strings in a long JSON list, nested so deep.

    They are decoded one by one, as numbers are by pieces. The list itself is decoded with their places in their place.

    Raises:
        ValueError: It is another list.
    """
    text, parts, strings, start = bytes(raw), list[bytes](), list[str](), 0
    while (quote := text.find(b'"', start)) >= 0:
        parts.append(text[start:quote] + b" %d " % len(strings))
        start = text.find(b'"', quote + 1) + 1
        if b"\\" in (string := text[quote:start]):  # the quote that was found may be escaped
            escaped = STRING.match(text, quote)
            start = escaped.end() if escaped else 0
            string = text[quote:start]
        if not start or len(strings) == count:
            raise ValueError("a string that does not end, or more of them")
        strings.append(_decoder(str, 0).decode(string))
    beside = b"".join([*parts, text[start:]])
    if len(beside) > PIECE + BESIDE * count:
        raise ValueError("more than strings")
    places = _array(beside, DATATYPES["INT64"], depth)
    known = ~np.isnan(places)
    if not np.array_equal(places[known], np.arange(len(strings))):
        raise ValueError("other values among the strings")
    x = np.full(places.shape, None, object)
    x[known] = strings
    return x


def _end(codes: Array, start: int) -> int:
    """Return the place of a comma some `PIECE` bytes on, or the end."""
    if len(codes) - start <= 2 * PIECE:
        return len(codes)
    commas = codes[start + PIECE : start + 2 * PIECE] == COMMA
    if not commas.any():
        raise ValueError("a number that does not end")
    return start + PIECE + int(commas.argmax())


def _check_brackets(piece: Array, shape: tuple[int, ...], done: int) -> None:
    """Check that numbers of a piece, with `done` numbers before it, stand in the brackets of the shape.

    Raises:
        ValueError: A bracket is missing, or is not next to a comma or another bracket of its kind.
    """
    text = piece[piece > ord(" ")]
    opens, closes, commas = text == OPEN, text == CLOSE, text == COMMA
    before = np.concatenate([[True], (opens | commas)[:-1]])
    behind = np.concatenate([(closes | commas)[1:], [True]])
    ends = np.append(np.flatnonzero(commas), len(text))
    edges = np.zeros(len(ends) + 1, np.int8)  # brackets before each number, and behind the one before it
    for i in range(len(shape)):
        edges[-done % (step := math.prod(shape[i:])) :: step] += 1
    counted = [np.diff(np.append(0, np.cumsum(sort, dtype=np.int32))[ends], prepend=0) for sort in (opens, closes)]
    if (opens & ~before).any() or (closes & ~behind).any():
        raise ValueError("a bracket beside a number")
    if (counted[0] != edges[:-1]).any() or (counted[1] != edges[1:]).any():
        raise ValueError("lists of other lengths than the shape's")


def _array(raw: bytes | memoryview, kind: Datatype, depth: int) -> Array:
    """Return the values of a JSON list, nested so deep."""
    dtype = kind.dtype
    try:
        values = _decoder(kind.number, depth).decode(raw)
    except msgspec.ValidationError:
        values = _decoder(kind.number | None, depth).decode(raw)
        dtype = np.dtype(np.float64) if kind.number in (int, float) else np.dtype(object)
    with np.errstate(over="ignore"):  # 1e39 becomes infinite, and is refused as such
        if dtype.kind == "O" or depth > 1:
            return _object_array(values, depth) if dtype.kind == "O" else np.array(values, dtype)
        return _packed(values, dtype) if dtype == kind.dtype else np.array(values, dtype)


def _packed(values: list[Any], dtype: np.dtype[Any]) -> Array:
    """Return the numbers of a list, by `struct`: NumPy takes 28 µs for the 3,072 floats of an image, and this 11."""
    try:
        return np.frombuffer(struct.pack(f"{len(values)}{dtype.char}", *values), dtype)
    except (struct.error, OverflowError):  # of a number that the datatype has not
        return np.fromiter(values, dtype, len(values))


def _object_array(values: list[Any], depth: int) -> Array:
    """Return nested lists as an object array of so many dimensions."""
    array = np.array(values, object)
    if array.ndim != depth:
        raise ValueError("lists of several lengths")
    return array


@cache
def _decoder(number: Any, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = number
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)
