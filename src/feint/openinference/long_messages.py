"""Long requests of gRPC, bounded before protobuf decodes them, and without their packed numbers.

An empty submessage takes 2 bytes on the wire and 230 in memory, a packed number 1 byte and up to 12: one request of
60 MiB took 7.3 GiB, and held the interpreter's lock for 2 seconds.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from feint.errors import BadInput, TooLarge
from feint.openinference import proto
from feint.openinference.tensors import PIECE, Array, Datatype, from_raw

FIELDS = 2**17  # of a request: a thousand rows of 125 columns, whose strings are a field each
RANK = 2**10  # bytes of a shape
VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
SIZES = {FIXED64: 8, FIXED32: 4, 3: 0, 4: 0}  # of kinds of fields; a group is the fields between two without a value
LONGEST = 10  # bytes of a varint
REQUEST = proto.MESSAGES["ModelInferRequest"].DESCRIPTOR.fields_by_name
INPUTS, OUTPUTS, INPUT = REQUEST["inputs"].number, REQUEST["outputs"].number, REQUEST["inputs"].message_type
SHAPE, CONTENTS = (INPUT.fields_by_name[name].number for name in ("shape", "contents"))
TENSORS = INPUT.fields_by_name["contents"].message_type.fields
NUMBERS = {field.number: field.name for field in TENSORS if field.name != "bytes_contents"}


class WireField(NamedTuple):
    """A field on the wire: its number, its kind, and where it, its value and the next field begin."""

    number: int
    kind: int
    start: int
    value: int
    end: int


class PackedNumbers(NamedTuple):
    """Numbers of a tensor as they are on the wire, and the name of their field."""

    name: str
    raw: memoryview


def cut_numbers(message: bytes) -> tuple[bytes, dict[int, PackedNumbers]]:
    """Return a request without the long packed numbers of its inputs, and these by the input's place.

    Bytes that are no message raise `BadInput`, more fields than a request may have `TooLarge`.
    """
    counted, parts, packed, inputs, done = count(1), list[bytes](), dict[int, PackedNumbers](), 0, 0
    for field in _fields(message, 0, len(message), counted):
        if field.kind != DELIMITED:
            continue
        if field.number == OUTPUTS:
            for _ in _fields(message, field.value, field.end, counted):
                pass
        elif field.number == INPUTS:
            rest, numbers = _cut_input(message, field, counted)
            if numbers is not None:
                packed[inputs] = numbers
                tag = message[field.start : _varint(message, field.start, field.end)[1]]
                parts += [message[done : field.start], tag, _as_varint(len(rest)), rest]
                done = field.end
            inputs += 1
    return (b"".join([*parts, message[done:]]) if packed else message), packed


def from_packed(packed: PackedNumbers, kind: Datatype, shape: Sequence[int]) -> Array:
    """Return the tensor in packed numbers.

    Raises:
        BadInput: They are of another type or number, or one is not in the range of the datatype.
    """
    if packed.name != kind.contents:
        raise BadInput("contents of another datatype", kind.contents or "raw contents", "see the datatype")
    if kind.dtype.kind == "f":
        return from_raw(packed.raw, kind, shape)
    codes, done, start = np.frombuffer(packed.raw, np.uint8), 0, 0
    x = np.empty(int(np.prod(shape, dtype=object)), kind.dtype)
    while start < len(codes):
        values, used = _varints(codes[start : start + PIECE])
        part = x[done : done + len(values)]
        if not used or len(part) < len(values):
            raise BadInput("more values than the shape holds", f"{len(x)}", "send the tensor whole")
        part[:] = values if kind.dtype.kind == "u" else values.view(np.int64)
        if (part.astype(np.int64).view(np.uint64) != values).any():
            raise BadInput("a number that the datatype has not", "numbers in its range", "see the datatype")
        done, start = done + len(values), start + used
    if done != len(x):
        raise BadInput(f"{done} values", f"{len(x)}", "send the tensor whole")
    return x.reshape(shape)


def _cut_input(message: bytes, field: WireField, counted: Iterator[int]) -> tuple[bytes, PackedNumbers | None]:
    """Return an input without its contents, and these, where they are long packed numbers; otherwise None."""
    parts, contents, numbers = list[bytes](), 0, None
    for part in _fields(message, field.value, field.end, counted):
        if part.number == SHAPE and part.end - part.value > RANK:
            raise TooLarge(f"a shape of {part.end - part.value} bytes", f"at most {RANK}", "send the tensor's own")
        if part.number != CONTENTS or part.kind != DELIMITED:
            parts.append(message[part.start : part.end])
            continue
        for tensor in _fields(message, part.value, part.end, counted):
            contents += 1
            if tensor.number in NUMBERS and tensor.end - tensor.value > PIECE:
                numbers = PackedNumbers(NUMBERS[tensor.number], memoryview(message)[tensor.value : tensor.end])
    if numbers is not None and contents > 1:
        raise BadInput("long contents in several pieces", "one", "send the tensor's numbers packed, in one field")
    return b"".join(parts), numbers


def _fields(message: bytes, start: int, end: int, counted: Iterator[int]) -> Iterator[WireField]:
    """Yield the fields of a message that is a part of another, and count them; errors are those of `cut_numbers`."""
    while start < end:
        if next(counted) > FIELDS:
            raise TooLarge(f"more than {FIELDS} fields", "fewer", "send raw contents, or smaller batches")
        tag, value = _varint(message, start, end)
        kind, stop = tag & 7, value
        if kind == DELIMITED:
            size, value = _varint(message, value, end)
            stop = value + size
        elif kind == VARINT:
            _, stop = _varint(message, value, end)
        elif kind in SIZES:
            stop = value + SIZES[kind]
        else:
            raise _malformed()
        if stop > end:
            raise _malformed()
        yield WireField(tag >> 3, kind, start, value, stop)
        start = stop


def _varint(message: bytes, start: int, end: int) -> tuple[int, int]:
    """Return a number, and where the next one begins; errors are those of `cut_numbers`."""
    value = 0
    for i, code in enumerate(message[start : min(end, start + LONGEST)]):
        value |= (code & 127) << 7 * i
        if code < 128:
            return value, start + i + 1
    raise _malformed()


def _as_varint(value: int) -> bytes:
    codes = [value >> shift & 127 | 128 for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*codes[:-1], codes[-1] & 127])


def _malformed() -> BadInput:
    return BadInput("bytes that are no message", "a ModelInferRequest", "see the protocol")


def _varints(codes: Array) -> tuple[Array, int]:
    """Return the whole numbers in a piece as uint64, and how many bytes they take; errors are as in `cut_numbers`."""
    ends = np.flatnonzero(codes < 128)
    starts = np.append(0, ends[:-1] + 1)[: len(ends)]
    sizes = ends - starts + 1
    if not len(ends) or sizes.max() > LONGEST:
        raise _malformed()
    values = np.zeros(len(ends), np.uint64)
    for i in range(sizes.max()):
        longer = sizes > i
        values[longer] |= (codes[starts[longer] + i] & 127).astype(np.uint64) << np.uint64(7 * i)
    return values, int(ends[-1]) + 1
