"""Mapping between errors and statuses, in both directions.

A server turns an error into a status of HTTP or of gRPC, one line, and the details for a retry. Refusals and errors of
the request state what came and what was expected. Any other error has a fixed line, since its own text may name files,
hosts, or an upstream's answer. A client turns the status back into the error.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from feint.errors import (
    BadInput,
    Compressed,
    Failed,
    FeintError,
    NoKey,
    NoRole,
    OverBudget,
    ProofRequired,
    RateLimited,
    Refused,
    StoreLost,
    StoreRolledBack,
    Suspected,
    TimedOut,
    TooLarge,
    TooSlow,
    UnknownName,
    Unreachable,
    one_line,
)
from feint.hashcash import Puzzle
from feint.openinference.model_spec import MALFORMED

MAX_LINE = 300  # characters of a server's line that are kept


@dataclass(frozen=True)
class ErrorStatus:
    """Status of one class of errors in HTTP, and in gRPC by name; `line` replaces the errors' own text."""

    http: int
    grpc: str
    line: str = ""


ERROR_STATUSES: dict[type[BaseException], ErrorStatus] = {
    BadInput: ErrorStatus(400, "INVALID_ARGUMENT"),
    UnknownName: ErrorStatus(404, "NOT_FOUND"),
    TooSlow: ErrorStatus(408, "DEADLINE_EXCEEDED"),
    Compressed: ErrorStatus(415, "UNIMPLEMENTED"),
    TooLarge: ErrorStatus(413, "INVALID_ARGUMENT"),
    NoKey: ErrorStatus(401, "UNAUTHENTICATED"),
    NoRole: ErrorStatus(403, "PERMISSION_DENIED"),
    Refused: ErrorStatus(403, "PERMISSION_DENIED"),
    Suspected: ErrorStatus(403, "PERMISSION_DENIED"),
    OverBudget: ErrorStatus(429, "RESOURCE_EXHAUSTED"),
    RateLimited: ErrorStatus(429, "RESOURCE_EXHAUSTED"),
    ProofRequired: ErrorStatus(428, "FAILED_PRECONDITION"),
    Failed: ErrorStatus(500, "INTERNAL", "the model failed, and nothing was answered; try again, or tell the operator"),
    Unreachable: ErrorStatus(
        502, "UNAVAILABLE", "the model cannot be reached, and nothing was answered; try again later"
    ),
    StoreLost: ErrorStatus(
        503, "UNAVAILABLE", "the ledger cannot be reached, and nothing was answered; try again later"
    ),
    StoreRolledBack: ErrorStatus(
        503, "UNAVAILABLE", "the ledger cannot be reached, and nothing was answered; try again later"
    ),
    TimedOut: ErrorStatus(504, "DEADLINE_EXCEEDED", "no answer in time; try again later"),
    Exception: ErrorStatus(500, "INTERNAL", "the gateway failed, and nothing was answered; tell the operator"),
}
HTTP_OF_GRPC = {  # a code that several errors share stands for the most general of them
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 428,
    "RESOURCE_EXHAUSTED": 429,
}
ERRORS: dict[int, tuple[type[FeintError], str, str]] = {  # of a status: the error, what was expected, the remedy
    401: (Refused, "an API key that the service knows", "give a key"),
    403: (Suspected, "a client that may ask", "talk to the owner"),
    413: (TooLarge, "a request that the server takes", "send smaller batches"),
    429: (OverBudget, "queries that are left", "learn from the transcript"),
}


def status_of(error: BaseException) -> ErrorStatus:
    """Return the status of the nearest of the error's classes that has one."""
    kinds = (kind for kind in type(error).__mro__ if kind in ERROR_STATUSES)
    return ERROR_STATUSES[next(kinds, Exception)]


def line(error: BaseException) -> str:
    """Return the one line that the client reads."""
    return status_of(error).line or one_line(error)


def details(error: BaseException) -> dict[str, Any]:
    """Return the details for a retry: the puzzle to solve, or the seconds to wait."""
    if isinstance(error, ProofRequired) and error.puzzle is not None:
        return {"puzzle": asdict(error.puzzle)}
    if isinstance(error, RateLimited | OverBudget) and math.isfinite(error.retry_after):
        return {"retry_after": error.retry_after}
    return {}


def is_final(error: BaseException) -> bool:
    """Return whether the same request will never be answered, though its status is one that clients retry."""
    return isinstance(error, RateLimited | OverBudget) and not math.isfinite(error.retry_after)


def error_of_http(status: int, body: bytes, headers: Mapping[str, str]) -> FeintError:
    """Return the error that a response stands for; the server's text is cut to a line."""
    try:
        decoded = json.loads(body)
        text, more = one_line(decoded["error"], MAX_LINE), dict(decoded.get("parameters", {}))
    except MALFORMED:
        text, more = f"status {status}", {}
    if "retry-after" in headers and "retry_after" not in more:
        more = {**more, "retry_after": headers["retry-after"]}
    return error_of_status(status, text, more)


def error_of_grpc(url: str, code: str, text: str, trailing: Mapping[str, Any]) -> FeintError:
    """Return the error that a failed call stands for; the server's text is cut to a line."""
    text = one_line(text, MAX_LINE)
    if code not in HTTP_OF_GRPC:
        return unreachable(f"{url} ({code}: {text})")
    more: dict[str, Any] = {"retry_after": trailing["retry-after"]} if "retry-after" in trailing else {}
    with contextlib.suppress(KeyError, ValueError):  # a puzzle that cannot be read is none
        more["puzzle"] = json.loads(trailing["feint-puzzle"])
    too_large = b"TooLarge" in trailing.get("grpc-status-details-bin", b"")
    return error_of_status(413 if too_large else HTTP_OF_GRPC[code], text, more)


def error_of_status(status: int, text: str, details: Mapping[str, Any]) -> FeintError:
    """Return the error that a status of HTTP stands for, with the server's text and the details beside it."""
    if status == 428:
        return ProofRequired(text, "a proof of work", "solve the puzzle", puzzle=_puzzle(details))
    if status == 429 and "retry_after" in details:
        wait = _seconds(details["retry_after"])
        return RateLimited(text, "fewer queries", f"wait {wait:g} seconds", retry_after=wait)
    if status in ERRORS:
        kind, expected, remedy = ERRORS[status]
        return kind(text, expected, remedy)
    if status < 500:
        return BadInput(
            f"the answer '{text}'", "a request that the server takes", "check the model's name and the pool's shape"
        )
    return Unreachable(f"{text} (status {status})", "a server that answers", "try again: what was answered is kept")


def unreachable(server: str) -> Unreachable:
    """Return the error for a server that does not answer."""
    return Unreachable(server, "a server that answers", "check the URL or try again: what was answered is kept")


def _puzzle(details: Any) -> Puzzle | None:
    try:
        puzzle = details["puzzle"]
        return Puzzle(int(puzzle["bits"]), str(puzzle["client"]), str(puzzle["query"]), int(puzzle["expires"]))
    except MALFORMED:
        return None


def _seconds(value: Any) -> float:
    try:
        return max(0.0, float(value))
    except (ValueError, TypeError, OverflowError):
        return math.inf  # a date; known services send seconds
