"""A call of gRPC on its stream of HTTP/2."""

import asyncio
import math
import re
import struct
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import grpc
from grpclib.exceptions import StreamTerminatedError
from grpclib.metadata import encode_bin_value, encode_grpc_message
from grpclib.protocol import Buffer, Connection, Stream
from grpclib.utils import Wrapper
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError

from feint.errors import BadInput, Compressed, TooLarge
from feint.gateway import error_responses
from feint.gateway.request_context import ClientDisconnect
from feint.gateway.turns import Late, in_time

Field = tuple[bytes, bytes]
PREFIX = struct.Struct(">BI")  # whether a message is compressed, and how many bytes it has
PART = "a part of a message", "all of it", "send it whole"
TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
CONTENT = b"application/grpc"
BEGIN = [(":status", "200"), ("content-type", "application/grpc")]
END = [("grpc-status", "0")]


class MessageBuffer(Buffer):
    """Bytes that have come of a message, in one piece.

    The library's buffer keeps 280 bytes for each frame, which may have one byte, and keeps what nobody will read. Here
    the window of HTTP/2 bounds what comes before it is read, and what comes after the message is dropped.

    Args:
        acknowledge: Gives a number of bytes back to the client's window.
    """

    def __init__(self, acknowledge: Callable[[int], None]) -> None:
        self._acknowledge = acknowledge
        self._bytes, self._wanted, self._held = bytearray(), 0, 0
        self._came, self._eof, self._closed = asyncio.Event(), False, False

    def add(self, data: bytes, ack_size: int) -> None:
        """Take in what a frame brings."""
        if not self._closed:
            self._bytes += data
        if self._closed or len(self._bytes) < self._wanted:
            self._acknowledge(ack_size)
            return
        self._held += ack_size
        if self._wanted:
            self._came.set()

    def eof(self) -> None:
        """Note that nothing more comes."""
        self._eof = True
        self._came.set()

    async def read(self, size: int) -> bytes:
        """Return the next bytes, fewer where the message ends before."""
        self._wanted = size
        while len(self._bytes) < size and not self._eof:
            self._acknowledge(self.unacked_size())
            self._came.clear()
            await self._came.wait()
        self._wanted = 0
        part = bytes(memoryview(self._bytes)[:size])
        del self._bytes[:size]
        return part

    def close(self) -> None:
        """Drop what is there, and what comes."""
        self._closed, self._bytes = True, bytearray()
        self._acknowledge(self.unacked_size())

    def unacked_size(self) -> int:
        """Return how many bytes the client's window still lacks, which are then given back."""
        held, self._held = self._held, 0
        return held


class StreamedCall:
    """A call of gRPC on its stream of HTTP/2, as `feint.gateway.rpc.IncomingCall`.

    Args:
        stream: The stream.
        fields: The header fields with which it began.
        unread: Seconds that its answer may stay unread.

    Attributes:
        is_grpc: Whether the request is one of gRPC.
    """

    def __init__(self, stream: Stream, fields: Sequence[Field], *, unread: float) -> None:
        self._stream, self.fields, self._unread = stream, fields, unread
        self._present = stream.wrapper = Wrapper()  # of the client: whoever waits within it is told that it went
        assert stream.id is not None
        # Neither refers to the call: 24 objects of each would wait for the collector.
        self._buffer = stream.buffer = MessageBuffer(partial(_acknowledge, stream.connection, stream.id))
        self._loop, self._ended = asyncio.get_running_loop(), False
        named = dict(fields)
        self.is_grpc = named.get(b":method") == b"POST" and named.get(b"content-type", b"").startswith(CONTENT)
        self.path = named.get(b":path", b"").decode("latin-1")
        self.address = (stream.connection.get_peer().addr() or ("",))[0]
        self._until = self._loop.time() + _timeout(named.get(b"grpc-timeout", b""))

    def has_gone(self) -> bool:
        return bool(self._present.cancelled) or self._loop.time() >= self._until

    async def message(self, most: int, seconds: float) -> bytes:
        late = self._loop.time() + seconds
        try:
            with self._present:
                return await in_time(min(late, self._until), self._whole(most))
        except StreamTerminatedError as error:
            raise ClientDisconnect from error
        except Late as error:
            if self._until < late:
                await self._expired()
            raise error_responses.too_slow(seconds) from error
        finally:
            self._buffer.close()

    async def _whole(self, most: int) -> bytes:
        prefix = await self._stream.recv_data(PREFIX.size)
        if not prefix:
            raise BadInput("a call without a message", "one", "send it")
        if len(prefix) < PREFIX.size:
            raise BadInput(*PART)
        compressed, size = PREFIX.unpack(prefix)
        if compressed:
            raise Compressed("a compressed message", "one that is not", "send it without compression")
        if size > most:
            raise TooLarge(f"a message of {size:,} bytes", f"at most {most:,}", "send smaller batches")
        message = await self._stream.recv_data(size)
        if len(message) < size:
            raise BadInput(*PART)
        return message

    async def _expired(self) -> None:
        """End the call, whose client waits no longer.

        Raises:
            ClientDisconnect: Always.
        """
        await self._sent(self._end(grpc.StatusCode.DEADLINE_EXCEEDED, "the client's own deadline is over", ()))
        raise ClientDisconnect

    async def send(self, response: bytes) -> None:
        if self._loop.time() >= self._until:
            await self._expired()
        await self._sent(self._answer(response))

    async def fail(self, code: grpc.StatusCode, line: str, metadata: Sequence[tuple[str, Any]] = ()) -> None:
        await self._sent(self._end(code, line, metadata))

    async def _answer(self, response: bytes) -> None:
        stream = self._stream
        await stream.send_headers(BEGIN)
        await stream.send_data(PREFIX.pack(0, len(response)) + response)
        await stream.send_headers(END, end_stream=True)

    async def _end(self, code: grpc.StatusCode, line: str, metadata: Sequence[tuple[str, Any]]) -> None:
        fields = [*BEGIN, ("grpc-status", str(code.value[0])), ("grpc-message", encode_grpc_message(line))]
        for name, value in metadata:
            fields.append((name, encode_bin_value(value).decode() if isinstance(value, bytes) else value))
        await self._stream.send_headers(fields, end_stream=True)

    async def refuse(self) -> None:
        """Refuse a request that is none of gRPC; raise as `send`."""
        await self._sent(self._stream.send_headers([(":status", "415")], end_stream=True))

    async def _sent(self, sending: Coroutine[Any, Any, None]) -> None:
        """Send what ends the call.

        Args:
            sending: Sends it.

        Raises:
            ClientDisconnect: Its client has gone, or does not read it.
        """
        try:
            with self._present:
                await in_time(self._loop.time() + self._unread, sending)
            self._ended = True
        except (StreamTerminatedError, StreamClosedError) as error:
            raise ClientDisconnect from error
        except Late as error:
            self._stream.reset_nowait(ErrorCodes.CANCEL)
            raise ClientDisconnect from error
        finally:
            sending.close()

    def close(self) -> None:
        """Let go of the stream, where the client has not: it need not say that nothing more comes, nor wait."""
        if (self._ended or self.has_gone()) and self._stream.closable:
            self._stream.reset_nowait()


def _acknowledge(connection: Connection, stream: int, size: int) -> None:
    """Give bytes back to the window of a client, unless its connection has ended."""
    if size and not connection.is_closing():
        connection.ack(stream, size)


def _timeout(field: bytes) -> float:
    """Return the seconds for which a client waits; infinite where it does not say, or not as gRPC has it."""
    matched = TIMEOUT.fullmatch(field)
    return int(matched[1]) * UNITS[matched[2]] if matched else math.inf
