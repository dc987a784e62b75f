"""Limits of an HTTP/1.1 connection, which uvicorn does not set.

Without them, measured: a silent connection stays as long as it likes, a header without end takes 1.7 bytes of memory
for each that is sent, and 12 MB of requests sent at once, without waiting for an answer, take 520 MB. None needs a key.
"""

import asyncio
import functools
import logging
import math
import weakref
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from feint.errors import BadInput, FeintError, RateLimited, TooLarge
from feint.gateway import error_responses
from feint.gateway.app import SOON
from feint.gateway.routes import HAS_GONE

HEAD = 2**16  # bytes of a request beside its body: its line, headers, frames of chunks and trailers
AHEAD = 16  # requests that may wait for an answer on one connection

log = logging.getLogger("feint.gateway")


class WholeResponse:
    """Transport of one response with a body, whose head is sent with the first part of it.

    uvicorn writes the two apart: two system calls, two packets, and two turns of a client's parser.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = weakref.proxy(cycle)  # it holds this one: only the collector would free the two
        self._transport, self._head = cycle.transport, None
        self.close, self.is_closing = self._transport.close, self._transport.is_closing

    def write(self, data: bytes) -> None:
        """Write a part of the response, at first its head, or what comes before it (100 Continue)."""
        if self.is_closing():  # where uvloop would raise an error
            return
        if self._head is None and self._cycle.response_started:
            self._head = data
        elif self._head:
            self._transport.writelines([self._head, data])
            self._head = b""
        else:
            self._transport.write(data)


def has_gone(request: weakref.ref[RequestResponseCycle]) -> bool:
    """Return whether the client of a request has gone, or has got its answer.

    uvicorn notices later, and of several requests on a connection for the last one alone.
    """
    cycle = request()
    if cycle is None:
        return True
    cycle.disconnected = cycle.disconnected or cycle.transport.is_closing()
    return cycle.disconnected


class BoundedConnection(HttpToolsProtocol):
    """Connection with bounds on the size of a header, on requests ahead of their answers, on time, and on its number.

    Args:
        most: Connections that may be open at once; a further one is refused.
        arrive: The seconds from a request's first byte to its last, and those that its answer may stay unread.
        age: The seconds after which the connection ends with its next answer, so that clients spread over new replicas.
    """

    def __init__(self, *args: Any, most: int, arrive: float, age: float = math.inf, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = log
        self._most, self._arrive = most, arrive
        self._beside, self._begun, self._whole = 0, False, False
        self._old = self.loop.time() + age
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._wrong: FeintError | None = None
        self._refusal = b""  # of a request behind others that are still being answered

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._most:
            log.warning("a connection over HTTP is refused: %d are open", self._most)
            got = f"{len(self.connections)} connections at once"
            self._wrong = RateLimited(got, f"at most {self._most}", "try again later", SOON)
            self.send_400_response("")
            return
        self._late = self.loop.call_later(self._arrive, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._in_time()
        self._taken()

    def data_received(self, data: bytes) -> None:
        if self._refusal:
            self.flow.read_paused = False  # or each answer that is still due would have a part more read
            self.transport.pause_reading()
            return
        self._beside += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._beside > HEAD:
            self._wrong = TooLarge("a header that is too large", f"at most {HEAD} bytes", "send less of it")
            self.send_400_response("")
        elif not self._whole or self._answered():
            self._late = self._late or self.loop.call_later(self._arrive, self._too_late)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun, self._whole = True, False

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= AHEAD:
            self._wrong = TooLarge("many requests at once", f"at most {AHEAD} ahead of their answers", "wait for them")
            raise self._wrong  # the parser stops here, and the request is refused as one that it cannot read
        if (wrong := self._wrong_head()) is not None:
            self._wrong = wrong
            raise wrong
        super().on_headers_complete()
        self._begun = False
        assert self.cycle is not None
        if self.loop.time() > self._old:
            self.cycle.keep_alive = False
        gone = functools.partial(has_gone, weakref.ref(self.cycle))
        self.scope["extensions"] = {HAS_GONE: gone}  # pyright: ignore[reportGeneralTypeIssues]
        if self.scope["method"] != "HEAD":
            self.cycle.transport = WholeResponse(self.cycle)  # pyright: ignore[reportAttributeAccessIssue]

    def _wrong_head(self) -> FeintError | None:
        """Return what RFC 9112 has a server refuse, and the parser does not."""
        assert self.parser is not None
        names, version = [name for name, _ in self.headers], self.parser.get_http_version()
        hosts, coded = names.count(b"host"), dict(self.headers).get(b"transfer-encoding", b"chunked")
        if version not in ("1.0", "1.1"):
            return BadInput(f"HTTP {version[:9]}", "HTTP/1.1", "see RFC 9112")
        if hosts > 1 or (version == "1.1" and not hosts):
            return BadInput(f"{hosts} headers Host", "one", "see RFC 9112")
        if coded.strip().lower() != b"chunked":
            return BadInput("a coding of the body", "chunked alone", "send it plain")
        return None

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._begun:  # a trailer is no header (RFC 9110 §6.5.1): no proxy before this server looks at it
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._beside -= 2 * len(body)  # it was counted when it came; chunks may take as much as what is in them
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._whole, self._beside = True, 0
        self._in_time()

    def _unsupported_upgrade_warning(self) -> None:
        """Refuse a body with the header Upgrade: the parser skips the body together with the header."""
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            self._wrong = BadInput("a body with the header Upgrade", "HTTP/1.1", "ask without that header")
            self._whole = False
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request, and close the connection. Those before it, which are charged, come first."""
        if self._refusal:
            return
        error = self._wrong or BadInput("no request of HTTP/1.1", "one", "see RFC 9112")
        status, headers, body = error_responses.reply(error)
        lines = [*self.server_state.default_headers, *dict([*headers, error_responses.CLOSE]).items()]
        head = b"".join(b"%s: %s\r\n" % header for header in lines)
        refusal = STATUS_LINE[status] + head + b"\r\n" + body
        if self._others_first():
            self._refusal = refusal
        else:
            self.transport.write(refusal)
            self.transport.close()

    def _others_first(self) -> bool:
        """Return whether requests before the malformed one are still to be answered; it is taken from the queue."""
        if self._begun or self._whole:  # it has no head
            return not self._answered()
        if self.pipeline:
            self.pipeline.popleft()
            return True
        return False

    def on_response_complete(self) -> None:
        if self._refusal and not self.pipeline and not self.transport.is_closing():
            self.transport.write(self._refusal)
            self.transport.close()
        super().on_response_complete()

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _too_late(self) -> None:
        """Refuse a request whose time is over."""
        self._late = None
        if self.transport.is_closing():
            return
        if not self._answered():  # who answers is reading the body, and has its own limit of time
            self._late = self.loop.call_later(self._arrive, self._too_late)
        elif self._begun:
            self._wrong = error_responses.too_slow(self._arrive)
            self.send_400_response("")
        else:
            self.transport.close()

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(self._arrive, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken()

    def _taken(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
