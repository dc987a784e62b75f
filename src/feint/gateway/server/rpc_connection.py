"""Connection of gRPC over HTTP/2, with bounds on what a client without a key can make the gateway do and hold."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import SettingsAcknowledged
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from feint.gateway.request_context import ClientDisconnect
from feint.gateway.server.rpc_call import StreamedCall

HEAD = 2**14  # bytes of the header fields of a call, as they came and as they are
WINDOW = 2**18  # bytes of a call that are taken in before they are read; 280 MiB without a key then hold 4 MiB
IDLE = 60.0  # seconds without a call after which a connection ends, as those of strangers: clients connect anew
COST = 64  # frames, or 256 bytes of one that is no data, that are taken in before others have their turn
SETTINGS = 32  # settings of a client: there are seven, and each that is made up takes 700 bytes
PREFACE = 24  # bytes with which a connection begins
FRAME = 9  # bytes of a frame beside its content
DATA, HEADERS, CONTINUATION = 0, 1, 9

log = logging.getLogger("feint.gateway")
Answer = Callable[[StreamedCall], Awaitable[None]]


class BoundedH2Connection(H2Connection):
    """State of a connection, as small as it can be."""

    DEFAULT_MAX_HEADER_LIST_SIZE = HEAD
    MAX_CLOSED_STREAMS = 2**10  # that are remembered


class RpcConnection(H2Protocol, AbstractHandler):
    """Connection over which a client calls.

    grpcio's server holds a client to limits only once the client has acknowledged them: without a key 1.6 MB of header
    fields took 159 MiB (1.83.2). Here they hold from the first byte.

    Args:
        answer: Answers a call.
        connections: The connections that are open; this one is among them while it is.
        most: Connections that may be open at once; a further one is closed.
        arrive: Seconds within which a client acknowledges the settings, and reads what it is sent.
        age: Seconds after which the connection takes no more calls, so that clients spread over new replicas.
    """

    CONFIG = Configuration().__for_server__()
    H2 = H2Configuration(
        client_side=False, header_encoding=None, validate_inbound_headers=False, normalize_inbound_headers=False,
        validate_outbound_headers=False, normalize_outbound_headers=False,
    )  # fmt: skip

    def __init__(
        self, answer: Answer, connections: "set[RpcConnection]", *, most: int, arrive: float, age: float = math.inf
    ) -> None:
        super().__init__(self, self.CONFIG, self.H2)
        self._answer, self._connections, self._most, self._arrive, self._age = answer, connections, most, arrive, age
        self._loop = asyncio.get_running_loop()
        self._calls = set[asyncio.Task[None]]()
        self._acknowledged = self._retired = False
        self._next, self._rest, self._busy = PREFACE, b"", False
        self._head = 0  # bytes of the header fields that come
        self._last = self._loop.time()  # when there was a call
        self._timers = set[asyncio.TimerHandle]()
        self._unread: asyncio.TimerHandle | None = None

    @property
    def calls(self) -> Sequence[asyncio.Task[None]]:
        """The calls under way."""
        return [*self._calls]

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._connections.add(self)
        h2 = BoundedH2Connection(self.H2)
        h2.initiate_connection()
        h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        h2.increment_flow_control_window(WINDOW - h2.local_settings.initial_window_size)
        self._h2, self.connection = h2, Connection(h2, transport, config=self.CONFIG)
        self.processor = EventsProcessor(self, self.connection)
        if len(self._connections) > self._most:
            log.warning("a connection over gRPC is refused: %d are open", self._most)
            self._end()
            return
        self.connection.flush()
        self._later(self._arrive, self._greeted)
        self._later(IDLE, self._look)
        if self._age < math.inf:
            self._later(self._age, self.retire)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something after a time, unless the connection has ended."""

        def now() -> None:
            self._timers.discard(timer)
            call()

        timer = self._loop.call_later(seconds, now)
        self._timers.add(timer)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)
        for timer in self._timers:
            timer.cancel()
        self._read()
        self._rest = b""
        del self.handler, self.processor  # which hold this one: only the collector would free them

    def _greeted(self) -> None:
        if not self._acknowledged:
            self._transport.abort()

    def _look(self) -> None:
        """End the connection where there was no call for long."""
        quiet = 0.0 if self._calls else self._loop.time() - self._last
        if quiet >= IDLE:
            self.retire()
        else:
            self._later(IDLE - quiet, self._look)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if not self._busy and self._unread is None:
            self._take()

    def _take(self) -> None:
        """Take in frames that have come, as many as others can wait for."""
        data, at, cost = self._rest, self._next, 0
        while at + FRAME <= len(data) and cost < COST:
            size, kind = int.from_bytes(data[at : at + 3], "big"), data[at + 3]
            if kind in (HEADERS, CONTINUATION):
                self._head = size + (self._head if kind == CONTINUATION else 0)
                if self._head > HEAD:
                    self.refuse("header fields that are too large")
                    return
            cost += 1 if kind == DATA else 1 + size // 256
            at += FRAME + size
        cut = min(at, len(data))
        self._busy = at + FRAME <= len(data)
        self._next, self._rest = at - cut, data[cut:]
        if cut:
            self._feed(data[:cut])
        if self._busy and not self._transport.is_closing():
            self._transport.pause_reading()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take in what was left for the sake of others, or as the client did not read, and read from it again."""
        self._busy = False
        if self._unread is None and not self._transport.is_closing():
            self._take()
            if not self._busy and not self._transport.is_closing():
                self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        """Take in bytes of whole frames, or parts of one."""
        try:
            for event in self.connection.feed(data):
                if isinstance(event, SettingsAcknowledged):
                    self._acknowledged = True
                elif process := getattr(self.processor, "processors", {}).get(type(event)):
                    process(event)  # what has none, as unknown frames, is passed over (RFC 9113, 4.1)
        except Exception as error:  # the libraries' own, too, where they did not expect such bytes
            self.refuse(type(error).__name__)
            return
        if len(self._h2.remote_settings) > SETTINGS:
            self.refuse("settings that there are not")
        elif not self._transport.is_closing():
            self.connection.flush()

    def refuse(self, wrong: str) -> None:
        """End the connection at once, of a client that is no client."""
        log.info("a connection over gRPC is ended: %s", wrong)
        if not self._transport.is_closing():
            self._transport.write(self._h2.data_to_send())  # perhaps the reason
            self._end()
        self.processor.close(wrong)

    def accept(self, stream: Stream, headers: Any, release_stream: Callable[[], None]) -> None:
        """Begin a call."""
        if self._retired:  # it came while the client was told so, and is sent again
            stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
            release_stream()
            return
        call = StreamedCall(stream, headers, unread=self._arrive)  # now: what comes with the fields is its message
        task = self._loop.create_task(self._run(call, release_stream))
        self._calls.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, call: StreamedCall, release_stream: Callable[[], None]) -> None:
        try:
            await (self._answer(call) if call.is_grpc else call.refuse())
        except ClientDisconnect:
            pass
        except Exception as error:
            log.error("a call over gRPC was ended by %s", type(error).__name__)
        finally:
            call.close()
            release_stream()

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._last = self._loop.time()
        if self._retired and not self._calls:
            self._end()

    def cancel(self, stream: Stream) -> None:
        """Leave a call to itself, whose client has reset it: it has seen that by its stream."""

    def close(self) -> None:
        """Leave all calls to themselves, as the connection has ended."""

    def retire(self) -> None:
        """Take no more calls, and end the connection when those under way are done."""
        if self._retired or self._transport.is_closing():
            return
        self._retired = True
        # By h2 itself nothing could be sent afterwards, no answer to a call under way either.
        self._transport.write(GoAwayFrame(last_stream_id=self._h2.highest_inbound_stream_id).serialize())
        if not self._calls:
            self._end()

    def _end(self) -> None:
        """End the connection when the client has read what it was sent, or does not."""
        if not self._transport.is_closing():
            self._transport.close()
            self._later(self._arrive, self._transport.abort)

    def abort(self) -> None:
        """End the connection and its calls at once."""
        self._transport.abort()
        for call in self._calls:
            call.cancel()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self._loop.call_later(self._arrive, self._transport.abort)
            self._transport.pause_reading()  # what answers frames of HTTP/2 itself is not counted: it takes no window

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read()
        if not self._busy:
            self._go_on()

    def _read(self) -> None:
        """Note that the client reads."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
