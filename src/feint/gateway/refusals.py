"""What an error is to a client: a status of HTTP or of gRPC, one line, and what helps to ask again.

Refusals and errors of the request say themselves what came and what was expected. Anything else is told by its kind
alone: what failed inside may name files, hosts, or what an upstream said.
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
    one_line,
)

log = logging.getLogger("feint.gateway")
Header = tuple[bytes, bytes]
CLOSE = (b"connection", b"close")


@dataclass(frozen=True)
class Kind:
    """How errors of one class are told: `status` of HTTP, `code` of gRPC by its name; `line` instead of their own."""

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
    """How this error is told: as the nearest of its classes that is in the table."""
    return next((KINDS[it] for it in type(error).__mro__ if it in KINDS), KINDS[Exception])


def line(error: BaseException) -> str:
    """The one line that the client reads."""
    return kind(error).line or one_line(error)


def details(error: BaseException) -> dict[str, Any]:
    """What helps to ask again: the puzzle to solve, or the seconds to wait."""
    if isinstance(error, ProofRequired) and error.puzzle is not None:
        return {"puzzle": asdict(error.puzzle)}
    if isinstance(error, RateLimited) and math.isfinite(error.retry_after):
        return {"retry_after": error.retry_after}
    return {}


def reply(error: BaseException) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of the response that tells an error over HTTP."""
    told = details(error)
    body = msgspec.json.encode({"error": line(error)} | ({"parameters": told} if told else {}))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return kind(error).status, headers + _hints(error, told), body


def _hints(error: BaseException, told: dict[str, Any]) -> list[Header]:
    found = []
    if "retry_after" in told:  # in whole seconds, says RFC 9110: the exact number is in the body
        found.append((b"retry-after", b"%d" % max(1, math.ceil(told["retry_after"]))))
    if isinstance(error, NoKey) and not isinstance(error, NoRole):
        found.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, TooLarge | TooSlow):  # the rest of the body is not read
        found.append(CLOSE)
    return found


def reason(error: BaseException) -> str:
    """The name of the error's class, for who counts and logs."""
    return type(error).__name__ if isinstance(error, FeintError) else "Failed"


def logged(error: BaseException) -> None:
    """Tell the operator what the client is not told. Of an exception that nobody raised on purpose the log gets the
    place alone: its text might be an input."""
    if kind(error).line:
        log.error("%s", error if isinstance(error, FeintError) else "an exception in the gateway")
    cause = error.__cause__ if isinstance(error, FeintError) else error
    if kind(error).line and cause is not None and not isinstance(cause, FeintError | TimeoutError):
        log.error("%s at\n%s", type(cause).__name__, "".join(traceback.format_tb(cause.__traceback__)))
