"""Error responses: a status of HTTP or of gRPC, one line, and what helps to ask again.

Refusals and errors of the request have lines that are sent as they are. Anything else is sent as its kind alone: what
failed inside may name files, hosts, or an upstream's text.
"""

import logging
import math
import traceback
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from feint.errors import (
    BadInput,
    Failed,
    FeintError,
    NoKey,
    NoRole,
    OverBudget,
    ProofRequired,
    RateLimited,
    Refused,
    StoreLost,
    Suspected,
    TimedOut,
    TooLarge,
    TooSlow,
    UnknownName,
    Unreachable,
)

log = logging.getLogger("feint.gateway")
Header = tuple[bytes, bytes]
CLOSE = (b"connection", b"close")


@dataclass(frozen=True)
class Kind:
    """Response to errors of one class: `status` of HTTP, `code` of gRPC by its name, `line` in place of its own."""

    status: int
    code: str
    line: str = ""


KINDS: dict[type[BaseException], Kind] = {
    BadInput: Kind(400, "INVALID_ARGUMENT"),
    UnknownName: Kind(404, "NOT_FOUND"),
    TooSlow: Kind(408, "DEADLINE_EXCEEDED"),
    TooLarge: Kind(413, "INVALID_ARGUMENT"),
    NoKey: Kind(401, "UNAUTHENTICATED"),
    NoRole: Kind(403, "PERMISSION_DENIED"),
    Refused: Kind(403, "PERMISSION_DENIED"),
    Suspected: Kind(403, "PERMISSION_DENIED"),
    OverBudget: Kind(429, "RESOURCE_EXHAUSTED"),
    RateLimited: Kind(429, "RESOURCE_EXHAUSTED"),
    ProofRequired: Kind(428, "FAILED_PRECONDITION"),
    Failed: Kind(500, "INTERNAL", "the model failed, and nothing was answered; try again, or tell the operator"),
    Unreachable: Kind(502, "UNAVAILABLE", "the model cannot be reached, and nothing was answered; try again later"),
    StoreLost: Kind(503, "UNAVAILABLE", "the ledger cannot be reached, and nothing was answered; try again later"),
    TimedOut: Kind(504, "DEADLINE_EXCEEDED", "no answer in time; try again later"),
    Exception: Kind(500, "INTERNAL", "the gateway failed, and nothing was answered; tell the operator"),
}


def kind(error: BaseException) -> Kind:
    """Return the response to an error: that of the nearest of its classes in the table."""
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), KINDS[Exception])


def line(error: BaseException) -> str:
    """Return the one line that the client reads."""
    return kind(error).line or " ".join(str(error).split())


def details(error: BaseException) -> dict[str, Any]:
    """Return what helps to ask again: the puzzle to solve, or the seconds to wait."""
    if isinstance(error, ProofRequired) and error.puzzle is not None:
        return {"puzzle": asdict(error.puzzle)}
    if isinstance(error, RateLimited) and math.isfinite(error.retry_after):
        return {"retry_after": error.retry_after}
    return {}


def reply(error: BaseException) -> tuple[int, list[Header], bytes]:
    """Return status, headers and body of the response over HTTP."""
    parameters = details(error)
    body = msgspec.json.encode({"error": line(error)} | ({"parameters": parameters} if parameters else {}))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return kind(error).status, headers + _hints(error, parameters), body


def _hints(error: BaseException, parameters: dict[str, Any]) -> list[Header]:
    headers = []
    if "retry_after" in parameters:  # whole seconds, by RFC 9110; the exact number is in the body
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(parameters["retry_after"]))))
    if isinstance(error, NoKey) and not isinstance(error, NoRole):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, TooLarge | TooSlow):  # the rest of the body is not read
        headers.append(CLOSE)
    return headers


def reason(error: BaseException) -> str:
    """Return the name of the error's class, for metrics and logs."""
    return type(error).__name__ if isinstance(error, FeintError) else "Failed"


def logged(error: BaseException) -> None:
    """Log what the client does not get. Of an unexpected exception the log gets the place alone: its text might be an
    input."""
    if kind(error).line:
        log.error("%s", error if isinstance(error, FeintError) else "an exception in the gateway")
    cause = error.__cause__ if isinstance(error, FeintError) else error
    if kind(error).line and cause is not None and not isinstance(cause, FeintError | TimeoutError):
        log.error("%s at\n%s", type(cause).__name__, "".join(traceback.format_tb(cause.__traceback__)))
