"""HTTP/2 by the frame (RFC 9113), for calls of gRPC that no client would make."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from hpack import Decoder

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


ACKNOWLEDGED = frame(SETTINGS, ACK, 0)  # the server's settings
CONNECTION_BEGINS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)


def call_begins(path: str, *more: tuple[str, str], stream: int = 1, fields: bytes = b"") -> bytes:
    """The headers of a call, each a literal of HPACK (RFC 7541, 6.2.2) of less than 127 bytes, then coded `fields`."""
    headers = (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")
    grpc = ("content-type", "application/grpc"), ("te", "trailers")
    texts = [text.encode("latin-1") for header in (*headers, *grpc, *more) for text in header]
    literals = [bytes([len(text)]) + text for text in texts]
    block = b"".join(b"\0" + name + value for name, value in zip(literals[::2], literals[1::2], strict=True))
    return frame(HEADERS, END_HEADERS, stream, block + fields)


STORED = b"\x40\x01b\x7f\xa1\x1e" + b"v" * 4000  # a header that enters the table (RFC 7541, 6.2.1)
AGAIN = b"\xbe"  # the same one (6.1): a byte for 4,000


def begun_message(size: int, part: bytes, stream: int = 1) -> bytes:
    """The beginning of a message of `size` bytes."""
    return frame(DATA, 0, stream, struct.pack(">BI", 0, size) + part)


def frames_of(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each frame that comes until the connection ends, by a reset where not all was read."""
    received = b""
    with suppress(ConnectionResetError):
        while more := connection.recv(65536):
            received += more
            while len(received) >= 9 and len(received) >= (end := 9 + int.from_bytes(received[:3], "big")):
                yield received[3], received[9:end]
                received = received[end:]


def statuses_of(connection: socket.socket) -> Iterator[int]:
    """The status of each call that ends, until the connection does."""
    fields = Decoder()
    for kind, content in frames_of(connection):
        if kind == HEADERS and (status := dict(fields.decode(content)).get("grpc-status")):
            yield int(status)
