"""Context of a request: who sends it, on which path, and the trace to which it belongs (W3C Trace Context)."""

import random
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
MOST = 512  # characters of a header that are kept


class TraceContext(NamedTuple):
    """Position in a trace.

    Attributes:
        trace: Id of the trace, 32 hexadecimal digits.
        span: Id of the request's span, 16 digits: the parent of what it causes at an upstream.
        parent: Id of the caller's span, "" for none.
        sampled: Whether the spans are recorded.
        state: Header tracestate, which is handed on as it came.
    """

    trace: str
    span: str
    parent: str = ""
    sampled: bool = False
    state: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a request that the present one causes."""
        headers = {"traceparent": f"00-{self.trace}-{self.span}-{self.sampled:02d}"}
        return headers | {"tracestate": self.state} if self.state else headers


def continue_trace(parent: str, state: str, share: float | None) -> TraceContext | None:
    """Return the trace of a request.

    Args:
        parent: Header traceparent, "" for none. One that is malformed counts as none.
        state: Header tracestate.
        share: Share of the requests without a caller's decision that are sampled; None where nobody records spans, and
            a trace is handed on as it came.

    Returns:
        The trace; None where there is none.
    """
    sent = TRACEPARENT.fullmatch(parent) if parent else None
    if sent is not None and (sent[4] is None or not parent.startswith("00")):
        span = sent[2] if share is None else _hex(64)
        return TraceContext(sent[1], span, sent[2], bool(int(sent[3], 16) & 1), state)
    return None if share is None else TraceContext(_hex(128), _hex(64), sampled=random.random() < share)


def _hex(bits: int) -> str:
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"


class ClientDisconnect(Exception):
    """Raised where the client goes away before its request is complete, or before it is decided."""


@dataclass(slots=True)
class RequestContext:
    """What is known of a request beside its content.

    Attributes:
        path: Path of HTTP, or name of the call of gRPC.
        address: Address that sends it, a proxy's where there is one.
        id: Header X-Request-ID, or the request's own id.
        key: Id of the API key that is sent, "" for none.
        agent: Header User-Agent.
        trace: Its trace, if any.
        has_gone: Whether its client has gone; where nobody can tell it stays.
    """

    path: str = ""
    address: str = ""
    id: str = ""
    key: str = ""
    agent: str = ""
    trace: TraceContext | None = None
    has_gone: Callable[[], bool] = lambda: False


_CURRENT: ContextVar[RequestContext | None] = ContextVar("feint_request", default=None)
HEADERS = b"x-request-id", b"user-agent", b"traceparent", b"tracestate"


def begin(path: str, address: str, headers: Mapping[bytes, bytes], share: float | None = None) -> RequestContext:
    """Make the context of a request the current one, for its task and what that starts.

    Args:
        path: Path of the request.
        address: Address that sends it.
        headers: Its headers by name, in lower case.
        share: As in `continue_trace`.

    Returns:
        The context.
    """
    request, agent, parent, state = [
        value[:MOST].decode("latin-1") if (value := headers.get(name)) else "" for name in HEADERS
    ]
    context = RequestContext(path, address, request, agent=agent, trace=continue_trace(parent, state, share))
    _CURRENT.set(context)
    return context


def current() -> RequestContext:
    """Return the context of the present request, an empty one outside of any."""
    return _CURRENT.get() or RequestContext()


def trace_headers() -> dict[str, str]:
    """Return the headers that hand the present trace on, none where there is no trace."""
    trace = current().trace
    return trace.headers if trace else {}


def name_request(request: str) -> None:
    """Give the present request its own id, unless a header has."""
    context = current()
    context.id = context.id or request
