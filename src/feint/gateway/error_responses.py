"""HTTP responses that report an error, and the log lines of errors."""

import logging
import math
import traceback
from typing import Any

import msgspec

from feint.errors import Compressed, FeintError, NoKey, NoRole, TooLarge, TooSlow, Unreachable
from feint.openinference.messages import ErrorDetails, ErrorResponse
from feint.openinference.status import details, is_final, line, status_of

log = logging.getLogger("feint.gateway")
Header = tuple[bytes, bytes]
CLOSE = (b"connection", b"close")


def reply(error: BaseException) -> tuple[int, list[Header], bytes]:
    """Return status, headers and body of the response that reports an error."""
    hints = details(error)
    body = msgspec.json.encode(ErrorResponse(line(error), ErrorDetails(**hints) if hints else msgspec.UNSET))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return status_of(error).http, headers + _hints(error, hints), body


def _hints(error: BaseException, hints: dict[str, Any]) -> list[Header]:
    headers = []
    if "retry_after" in hints:  # in whole seconds, says RFC 9110: the exact number is in the body
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(hints["retry_after"]))))
    if is_final(error):
        headers.append((b"x-should-retry", b"false"))  # read by the clients of OpenAI and others, who retry any 429
    if isinstance(error, NoKey) and not isinstance(error, NoRole):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, Compressed):
        headers.append((b"accept-encoding", b"identity"))
    if isinstance(error, TooLarge | TooSlow):  # the rest of the body is not read
        headers.append(CLOSE)
    return headers


def too_slow(seconds: float) -> TooSlow:
    """Return the error of a request that did not arrive in time."""
    return TooSlow(f"a request that takes longer than {seconds:g} seconds", "all of it", "send faster")


def reason(error: BaseException) -> str:
    """Return the name of the error's class, for metrics and logs."""
    return type(error).__name__ if isinstance(error, FeintError) else "Failed"


def outcome(error: BaseException) -> str:
    """Return "refused" where the request is at fault, "failed" where this side is."""
    return "refused" if status_of(error).http < 500 else "failed"


def logged(error: BaseException) -> None:
    """Log the part of an error that its response omits.

    Of an exception that is no `FeintError` only the place is logged, since its text may hold an input; what fails
    outside of the gateway, a disk or a server, has no place in it.
    """
    if not status_of(error).line:
        return
    cause, outside = error.__cause__ if isinstance(error, FeintError) else error, isinstance(error, Unreachable)
    foreign = None if isinstance(cause, FeintError | TimeoutError) else cause
    because = f" ({type(foreign).__name__})" if foreign is not None and outside else ""
    log.error("%s%s", error if isinstance(error, FeintError) else "an exception in the gateway", because)
    if isinstance(cause, FeintError):
        log.error("%s: %s", type(cause).__name__, cause)
    elif foreign is not None and not outside:
        log.error("%s at\n%s", type(foreign).__name__, "".join(traceback.format_tb(foreign.__traceback__)))
