"""JSON logs with the field names of the Elastic Common Schema."""

import logging
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, TextIO

import msgspec

from feint import __version__
from feint.gateway import error_responses
from feint.gateway.record import RequestRecord
from feint.gateway.redaction import redacted, without_keys
from feint.gateway.request_context import RequestContext, current
from feint.gateway.telemetry.audit_chain import Head, rfc3339
from feint.gateway.telemetry.throttle import Throttle
from feint.openinference.status import ERROR_STATUSES

ECS = "8.11"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# The status of HTTP; gRPC has other codes for the same reasons.
STATUS = {kind.__name__: status.http for kind, status in ERROR_STATUSES.items()}
STATUS_OF = {"answered": 200, "cancelled": 499}  # of a client who has gone, as nginx has it: 5xx is of this side
LEVEL_OF = {"answered": logging.DEBUG, "refused": logging.INFO, "cancelled": logging.INFO}
OUTCOMES = {"answered": "success", "refused": "failure", "cancelled": "unknown", "failed": "failure"}
BEGINNING = 60  # characters of a message by which it is one of a kind


class Logs:
    """Observer that writes a line a request.

    Level debug has all requests, info refusals and failures, warning and error failures alone. No line holds inputs
    or probabilities, since records hold none. Above debug, lines of one kind (a client's refusals by a model for one
    reason, all of those without a key, or messages of the gateway that begin alike) are throttled, and counted.

    What cannot be written, as on a full disk, stops nothing: the next line that can be tells how many are missing.

    Args:
        level: The least level that is written.
        version: The version of Feint.
        to: Where lines go; otherwise standard output.
    """

    def __init__(self, level: str = "info", *, version: str = "", to: TextIO | None = None) -> None:
        self._level, self._to = LEVELS[level], to or sys.stdout
        self._service = {"name": "feint", "version": version}
        self._throttle: Throttle[tuple[str, ...]] = Throttle()
        self._missing = 0  # lines since the last one that could be written

    def __call__(self, record: RequestRecord) -> None:
        """Write the line of a request, where there is one at this level."""
        unusual = record.outcome == "answered" and record.reason  # without the ledger
        level = logging.WARNING if unusual else LEVEL_OF.get(record.outcome, logging.ERROR)
        if level >= self._level and self._admits(("requests", record.model, record.client, record.reason)):
            self._write(record.time, logging.getLevelName(level).lower(), self._event(record))

    def _event(self, record: RequestRecord) -> dict[str, Any]:
        event: dict[str, Any] = {
            "action": "infer", "kind": "event", "category": ["api"], "outcome": OUTCOMES[record.outcome],
            "duration": round(1e9 * sum(record.seconds.values())),
        }  # fmt: skip
        if record.reason:
            event["reason"] = record.reason
        feint = {
            "model": record.model, "queries": record.queries, "rung": record.rung, "applied": record.applied,
            "evidence": record.shown_evidence, "conflicts": record.conflicts,
        }  # fmt: skip
        if record.context.key:
            feint["key"] = record.context.key
        values = origin(record.context)
        status = STATUS_OF.get(record.outcome) or STATUS.get(record.reason, 500)
        values["http"] = values.get("http", {}) | {"response": {"status_code": status}}
        if record.client:
            values["user"] = {"name": record.client}
        return {"event": event, "feint": feint, **values}

    def audit_head(self, head: Head) -> None:
        """Write the head of the audit log, whatever the level: where logs are shipped, no editor of the file has it."""
        event = {"action": "audit", "kind": "event"}
        self._write(time.time(), "info", {"event": event, "feint": {"audit": head._asdict()}})

    def say(self, level: str, message: str, seconds: float) -> None:
        """Write a line of one of the gateway's loggers."""
        if LEVELS.get(level, logging.ERROR) >= self._level and self._admits(("messages", message[:BEGINNING])):
            self._write(seconds, level, {"message": message, **origin(current())})

    def _admits(self, kind: tuple[str, ...]) -> bool:
        """Return whether a line of this kind is written now, after the number of those that were not."""
        if self._level <= logging.DEBUG:
            return True
        now = time.monotonic()
        self.flush(now)
        return self._throttle.admits(kind, now)

    def flush(self, now: float = float("inf")) -> None:
        """Write how many lines were left out in the windows that are over at `now`."""
        for kind, count in self._throttle.over(now):
            about = ", ".join(filter(None, kind))
            self._write(time.time(), "warning", {"message": f"{count} more lines in a short time: {about}"})

    def _write(self, seconds: float, level: str, values: dict[str, Any]) -> None:
        lines = [self._line(seconds, level, values)]
        if self._missing:
            lines.insert(
                0, self._line(time.time(), "error", {"message": f"{self._missing} lines could not be written"})
            )
        try:
            self._to.write("".join(lines))
            self._to.flush()
        except (OSError, ValueError):  # a full disk, a reader that has gone, a stream that is closed
            self._missing += 1
        else:
            self._missing = 0

    def _line(self, seconds: float, level: str, values: dict[str, Any]) -> str:
        head = {"@timestamp": rfc3339(seconds), "log": {"level": level}, "service": self._service}
        return msgspec.json.encode(head | values | {"ecs": {"version": ECS}}).decode() + "\n"


def origin(context: RequestContext) -> dict[str, Any]:
    """Return the fields of a request's origin, without those that are not known.

    A client may put its key into a path, an id or the name of its program.
    """
    values: dict[str, Any] = {}
    if context.path:
        values["url"] = {"path": without_keys(context.path)}
    if context.address:
        values["client"] = {"address": context.address}
    if context.agent:
        values["user_agent"] = {"original": without_keys(context.agent)}
    if context.id:
        values["http"] = {"request": {"id": without_keys(context.id)}}
    if context.trace:
        values["trace"] = {"id": context.trace.trace}
    return values


class Handler(logging.Handler):
    """Handler that writes the gateway's loggers as lines of the same kind."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self._logs.say(record.levelname.lower(), redacted(_message(record)), record.created)


def _message(record: logging.LogRecord) -> str:
    """Return the text of a record, in which another library's exceptions are their classes: they quote whole URLs."""
    if isinstance(record.args, tuple) and not record.name.startswith("feint."):
        record.args = tuple(type(part).__name__ if isinstance(part, BaseException) else part for part in record.args)
    return record.getMessage()


def attach(logs: Logs, level: str, logger: str = "feint.gateway") -> None:
    """Write what a logger logs from this level on as lines of `logs`."""
    log = logging.getLogger(logger)
    log.handlers, log.propagate = [Handler(logs)], False
    log.setLevel(level.upper())


def take_over() -> None:
    """Write all that Python writes in this process as JSON lines: every logger, warnings, and uncaught exceptions.

    `feint.gateway` logs at level info until `attach` sets another one, all other loggers warnings alone.
    """
    logs = Logs(version=__version__)
    attach(logs, "info")
    attach(logs, "warning", "root")
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: error_responses.logged(error)
    threading.excepthook = lambda failed: error_responses.logged(failed.exc_value or failed.exc_type())


def announce(lines: Iterable[str], level: str = "info") -> None:
    """Write lines of a start or an end, whatever the level of the logs."""
    logs = Logs("debug", version=__version__)
    for line in lines:
        logs.say(level, redacted(line), time.time())
