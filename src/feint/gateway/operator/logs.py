"""JSON logs with the field names of the Elastic Common Schema: a line for each decision that is worth one."""

import logging
import sys
from typing import Any, TextIO

import msgspec

from feint.gateway.decision import Decision
from feint.gateway.operator.audit import moment
from feint.openinference.status import ERROR_STATUSES

ECS = "8.11"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# What HTTP tells; gRPC has codes of its own for the same reasons.
STATUS = {kind.__name__: status.http for kind, status in ERROR_STATUSES.items()} | {"": 200}
OUTCOMES = {"answered": "success", "refused": "failure", "failed": "failure"}


class Logs:
    """A `Record` that writes a line: for every decision at level debug, for refusals and failures at info, for failures
    at warning and error. Inputs and probabilities are in no decision, so they are in no line."""

    def __init__(self, level: str = "info", *, version: str = "", to: TextIO | None = None) -> None:
        self._level, self._to = LEVELS[level], to or sys.stdout
        self._service = {"name": "feint", "version": version}

    def __call__(self, decision: Decision) -> None:
        """Write the line of a decision, where there is one at this level."""
        answered, refused = decision.outcome == "answered", decision.outcome == "refused"
        level = logging.DEBUG if answered else logging.INFO if refused else logging.ERROR
        if level >= self._level:
            self._write(decision.time, logging.getLevelName(level).lower(), self._event(decision))

    def _event(self, decision: Decision) -> dict[str, Any]:
        event: dict[str, Any] = {
            "action": "infer", "kind": "event", "category": ["api"], "outcome": OUTCOMES[decision.outcome],
            "duration": round(1e9 * sum(decision.seconds.values())),
        }  # fmt: skip
        http = {"response": {"status_code": STATUS.get(decision.reason, 500)}}
        if decision.reason:
            event["reason"] = decision.reason
        feint = {
            "model": decision.model, "queries": decision.queries, "rung": decision.rung, "applied": decision.applied,
            "evidence": round(decision.evidence, 4), "conflicts": decision.conflicts,
        }  # fmt: skip
        told: dict[str, Any] = {"event": event, "http": http, "feint": feint}
        if decision.client:
            told["user"] = {"name": decision.client}
        if decision.trace:
            told["trace"] = {"id": decision.trace}
        return told

    def say(self, level: str, message: str, seconds: float) -> None:
        """Write a line of another kind: what a logger of the gateway says."""
        if LEVELS.get(level, logging.ERROR) >= self._level:
            self._write(seconds, level, {"message": message})

    def _write(self, seconds: float, level: str, told: dict[str, Any]) -> None:
        head = {"@timestamp": moment(seconds), "log": {"level": level}, "service": self._service}
        line = msgspec.json.encode(head | told | {"ecs": {"version": ECS}})
        self._to.write(line.decode() + "\n")
        self._to.flush()


class Handler(logging.Handler):
    """What the gateway's loggers say, as lines of the same kind."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; a stream that is closed by then takes none."""
        try:
            self._logs.say(record.levelname.lower(), record.getMessage(), record.created)
        except (OSError, ValueError):
            self.handleError(record)
