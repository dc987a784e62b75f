"""Long lists of a request in JSON, cut out of it before it is decoded."""

import re
from secrets import token_hex

from feint.errors import TooLarge
from feint.openinference.tensors import PIECE, STRING

LONG = 2**12  # bytes of a list of numbers that is decoded apart from the JSON around it
DATA = re.compile(rb"\s{0,99}:\s{0,99}(?=\[)")
VALUE = rb"(?:null|%b)" % STRING.pattern
FIRST = re.compile(rb"(?:\[\s*+)++%b" % VALUE, re.DOTALL)  # of a list of strings, and those that follow it
FURTHER = re.compile(rb"(?:\s*+(?:(?:\]\s*+)++,\s*+(?:\[\s*+)++|,\s*+)%b)++" % VALUE, re.DOTALL)
PLACE = token_hex(8)  # of a list that was cut out: nobody can send it


def cut_lists(body: bytes | bytearray, *, beside: int, string: int) -> tuple[memoryview, dict[bytes, memoryview]]:
    """Return the JSON with names in the place of its long lists of numbers or strings, and these lists by the names.

    The decoder would check a list of 64 MB for 0.4 s, and no other thread could run meanwhile; 64 MB of short strings
    take 1 GB; an image of 59 kB takes 30 µs, and 3 to be cut out. Only a list's own decoder can tell whether what was
    cut out is a list.

    Args:
        body: The JSON.
        beside: Bytes that it may have beside the lists.
        string: Bytes that a string of a list may have.

    Raises:
        TooLarge: It has more.
    """
    view, parts, lists, start, i = memoryview(body), [], {}, 0, 0
    left = beside  # bytes
    while (i := body.find(b'"data"', i)) >= 0 and i - start <= left:
        i += len(b'"data"')
        opened = DATA.match(body, i)
        if opened is None:
            continue
        stop = _end_of_list(body, opened.end(), string)
        if stop - opened.end() > LONG:
            name = b'"%s %d"' % (PLACE.encode(), len(lists))
            parts += [view[start : opened.end()], name]
            left -= opened.end() - start
            lists[name], start, i = view[opened.end() : stop], stop, stop
    if len(body) - start > left:
        raise TooLarge("too much JSON beside the data", f"at most {beside} bytes", "send less")
    return memoryview(b"".join([*parts, view[start:]])) if lists else view, lists


def _end_of_list(body: bytes | bytearray, start: int, string: int) -> int:
    """Return the place behind a list: of its last bracket before the first quote or brace that is none of its own.

    A string of more than `string` bytes is none of its own.
    """
    end, window = start, string + PIECE  # each match holds the interpreter's lock
    strings = FIRST.match(body, start, start + window)
    while strings is not None:
        end = strings.end()
        strings = FURTHER.match(body, end, end + window)
    quote = body.find(b'"', end)
    stop = len(body) if quote < 0 else quote
    brace = body.find(b"}", end, stop)
    return body.rfind(b"]", end, stop if brace < 0 else brace) + 1
