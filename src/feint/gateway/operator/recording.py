"""All that is told of decisions, put together: it outlives a reload of the settings."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feint import __version__
from feint.gateway.decision import Decision, Record
from feint.gateway.operator.audit import Audited, AuditLog
from feint.gateway.operator.logs import Handler, Logs
from feint.gateway.operator.metrics import Metrics
from feint.gateway.operator.seen import Seen
from feint.gateway.operator.traces import Traces, to_collector

log = logging.getLogger("feint.gateway")


class Operator:
    """A `Record` that tells every other one. What one of them fails at is logged once, and fails no request."""

    def __init__(
        self,
        *,
        metrics: bool = True,
        audit_log: Path | str | None = None,
        logs: Logs | None = None,
        traces: Traces | None = None,
    ) -> None:
        self.seen = Seen()
        self.audit = AuditLog(audit_log) if audit_log is not None else None
        self.metrics = Metrics(self.seen, self.audit) if metrics else None
        self._audited = Audited(self.audit) if self.audit is not None else None
        self._traces = traces
        told: Sequence[Record | None] = (traces, self.seen, self.metrics, self._audited, logs)  # logs name the trace
        self._records = [record for record in told if record is not None]
        self._failed = set[type]()

    def __call__(self, decision: Decision) -> None:
        """Tell a decision."""
        for record in self._records:
            try:
                record(decision)
            except Exception as error:
                if type(record) not in self._failed:
                    self._failed.add(type(record))
                    log.error("%s fails to record: %s", type(record).__name__, type(error).__name__)

    def enter(self, action: str, **told: Any) -> None:
        """Enter what an admin does, on the disk before this returns, and say it in the log. Raises `NotWritten`."""
        if self.audit is not None:
            self.audit.enter(action, durable=True, **told)
        log.warning("%s: %s", action, ", ".join(f"{name} {value}" for name, value in told.items()))

    def close(self) -> None:
        """Hand over and write down what is left."""
        if self._traces is not None:
            self._traces.close()
        if self._audited is not None:
            self._audited.close()


def opened(
    *, metrics: bool = True, audit_log: Path | None = None, log: str = "info", traces: str = ""
) -> Operator:  # the names are those of the settings' table [operator]
    """What the settings say; from here on the gateway's loggers write lines of the same kind. `traces` is where a
    collector takes OTLP over HTTP, "" for none. Raises `NotWritten` or `MissingData`."""
    logs = Logs(log, version=__version__)
    made = Operator(
        metrics=metrics,
        audit_log=audit_log,
        logs=logs,
        traces=to_collector(traces, version=__version__) if traces else None,
    )
    speaker = logging.getLogger("feint.gateway")
    speaker.handlers, speaker.propagate = [Handler(logs)], False
    speaker.setLevel(log.upper())
    return made
