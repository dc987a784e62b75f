"""JSON logs with the field names of the Elastic Common Schema."""

import logging
import sys
import time
from typing import Any, TextIO

import msgspec

from feint.gateway.record import RequestRecord
from feint.gateway.redaction import redacted
from feint.gateway.telemetry.audit_chain import Head, rfc3339
from feint.openinference.status import ERROR_STATUSES

ECS = "8.11"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# The status of HTTP; gRPC has other codes for the same reasons.
STATUS = {kind.__name__: status.http for kind, status in ERROR_STATUSES.items()} | {"": 200}
LEVEL_OF = {"answered": logging.DEBUG, "refused": logging.INFO, "cancelled": logging.INFO}
OUTCOMES = {"answered": "success", "refused": "failure", "cancelled": "unknown", "failed": "failure"}


class Logs:
    """Observer that writes a line a request.

    Level debug has all requests, info refusals and failures, warning and error failures alone. No line holds inputs
    or probabilities, since records hold none.

    Args:
        level: The least level that is written.
        version: The version of Feint.
        to: Where lines go; otherwise standard output.
    """

    def __init__(self, level: str = "info", *, version: str = "", to: TextIO | None = None) -> None:
        self._level, self._to = LEVELS[level], to or sys.stdout
        self._service = {"name": "feint", "version": version}

    def __call__(self, record: RequestRecord) -> None:
        """Write the line of a request, where there is one at this level."""
        unusual = record.outcome == "answered" and record.reason  # without the ledger
        level = logging.WARNING if unusual else LEVEL_OF.get(record.outcome, logging.ERROR)
        if level >= self._level:
            self._write(record.time, logging.getLevelName(level).lower(), self._event(record))

    def _event(self, record: RequestRecord) -> dict[str, Any]:
        event: dict[str, Any] = {
            "action": "infer", "kind": "event", "category": ["api"], "outcome": OUTCOMES[record.outcome],
            "duration": round(1e9 * sum(record.seconds.values())),
        }  # fmt: skip
        status = 200 if record.outcome == "answered" else STATUS.get(record.reason, 500)
        http = {"response": {"status_code": status}}
        if record.reason:
            event["reason"] = record.reason
        feint = {
            "model": record.model, "queries": record.queries, "rung": record.rung, "applied": record.applied,
            "evidence": record.shown_evidence, "conflicts": record.conflicts,
        }  # fmt: skip
        values: dict[str, Any] = {"event": event, "http": http, "feint": feint}
        if record.client:
            values["user"] = {"name": record.client}
        if record.trace:
            values["trace"] = {"id": record.trace}
        return values

    def audit_head(self, head: Head) -> None:
        """Write the head of the audit log, whatever the level: where logs are shipped, no editor of the file has it."""
        event = {"action": "audit", "kind": "event"}
        self._write(time.time(), "info", {"event": event, "feint": {"audit": head._asdict()}})

    def say(self, level: str, message: str, seconds: float) -> None:
        """Write a line of one of the gateway's loggers."""
        if LEVELS.get(level, logging.ERROR) >= self._level:
            self._write(seconds, level, {"message": message})

    def _write(self, seconds: float, level: str, values: dict[str, Any]) -> None:
        head = {"@timestamp": rfc3339(seconds), "log": {"level": level}, "service": self._service}
        line = msgspec.json.encode(head | values | {"ecs": {"version": ECS}})
        self._to.write(line.decode() + "\n")
        self._to.flush()


class Handler(logging.Handler):
    """Handler that writes the gateway's loggers as lines of the same kind."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; a stream that is closed by then takes none."""
        try:
            self._logs.say(record.levelname.lower(), redacted(record.getMessage()), record.created)
        except (OSError, ValueError):
            self.handleError(record)
