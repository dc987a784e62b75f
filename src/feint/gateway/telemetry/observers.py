"""Observers of requests, together; they outlive a reload of the settings."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feint import __version__
from feint.errors import NotWritten, one_line
from feint.gateway.app import Gateway
from feint.gateway.record import RequestRecord
from feint.gateway.settings import OperatorSettings
from feint.gateway.telemetry.audit_chain import read_key
from feint.gateway.telemetry.audit_log import AuditLog, AuditObserver
from feint.gateway.telemetry.logs import Logs, attach
from feint.gateway.telemetry.metrics import Metrics
from feint.gateway.telemetry.traces import Traces, to_collector

log = logging.getLogger("feint.gateway")


DELAY = 0.05  # seconds after which records are counted
MOST = 1000  # records that wait


class Telemetry:
    """Observer that passes every record on to all others. A failure of one is logged once, and fails no request.

    Metrics get many records at once, which takes half the processor time: whoever reads them, and a timer, has them
    count what waits.

    Attributes:
        audit: The audit log, if there is one.
    """

    def __init__(
        self,
        *,
        metrics: bool = True,
        audit_log: Path | str | None = None,
        audit_key: str = "",
        logs: Logs | None = None,
        traces: Traces | None = None,
    ) -> None:
        ship = logs.audit_head if logs is not None else lambda head: None
        self.audit = AuditLog(audit_log, audit_key, ship=ship) if audit_log is not None else None
        self._metrics = Metrics(self.audit) if metrics else None
        self._audited = AuditObserver(self.audit) if self.audit is not None else None
        self._traces, self._logs = traces, logs
        self._observers = [observer for observer in (traces, self._audited, logs) if observer is not None]
        self._waiting: list[RequestRecord] = []
        self._failed = set[type]()

    @property
    def metrics(self) -> Metrics | None:
        """The metrics, if there are any."""
        self._count()
        return self._metrics

    def attach(self, gateway: Gateway) -> None:
        """Record every request of a gateway from now on, and export its gauges."""
        for endpoint in gateway.endpoints.values():
            endpoint.observer = self
        gateway.trace_share = self._traces.share if self._traces is not None else None
        if self._metrics is not None:
            self._metrics.attach(gateway)

    def __call__(self, record: RequestRecord) -> None:
        """Pass a record on."""
        for observer in self._observers:
            self._pass(observer, record)
        if self._metrics is None:
            return
        self._waiting.append(record)
        if len(self._waiting) == 1:
            self._count_later()
        elif len(self._waiting) == MOST:
            self._count()

    def _count_later(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside of a server
            self._count()
        else:
            loop.call_later(DELAY, self._count)

    def _count(self) -> None:
        """Have the records that wait counted."""
        waiting, self._waiting = self._waiting, []
        if waiting and self._metrics is not None:
            self._pass(self._metrics, waiting)

    def _pass(self, observer: Callable[[Any], None], observed: Any) -> None:
        try:
            observer(observed)
        except Exception as error:
            if type(observer) not in self._failed:
                self._failed.add(type(observer))
                log.error("%s fails to record: %s", type(observer).__name__, type(error).__name__)

    def enter(self, action: str, **values: Any) -> None:
        """Enter a change of the operator's into the audit log and the log; raise `NotWritten` if it is not on disk."""
        if self.audit is not None:
            self.audit.enter(action, durable=True, **values)
        log.warning("%s: %s", action, ", ".join(f"{name} {value}" for name, value in values.items()))

    def note(self, action: str, **values: Any) -> None:
        """Enter what happened to the gateway; a line that cannot be written is counted in `AuditLog.lost`."""
        if self.audit is not None:
            with contextlib.suppress(NotWritten):
                self.audit.enter(action, **values)

    def reopen(self) -> None:
        """Open the audit log again after logrotate; where that fails it goes on in the old file."""
        try:
            if self.audit is not None:
                self.audit.reopen()
        except NotWritten as error:
            log.error("the audit log is not opened again: %s", one_line(error))

    def close(self) -> None:
        """Write what is still buffered, and close; what can no longer be written is logged."""
        self._count()
        if self._traces is not None:
            self._traces.close()
        if self._audited is not None:
            try:
                self._audited.close()
            except NotWritten as error:
                log.error("the audit log lacks its last lines: %s", one_line(error))
        if self._logs is not None:
            self._logs.flush()


def check_telemetry(settings: OperatorSettings) -> None:
    """Check that the observers of the settings can start; errors are those of `start_telemetry`."""
    key = read_key(settings.audit_key_env, settings.audit_key_file)
    if settings.traces:
        to_collector(settings.traces).close()
    if settings.audit_log is not None:
        AuditLog(settings.audit_log, key).close()


def start_telemetry(settings: OperatorSettings) -> Telemetry:
    """Start the observers of the settings; from here on the gateway's loggers write JSON lines.

    Args:
        settings: The table [operator].

    Returns:
        The telemetry. `NotWritten` is raised if the audit log cannot be opened, `MissingData` without OpenTelemetry or
        the key of the audit log.
    """
    logs, traces = Logs(settings.log, version=__version__), None
    if settings.traces:
        traces = to_collector(settings.traces, share=settings.trace_share, version=__version__)
    operator = Telemetry(
        metrics=settings.metrics,
        audit_log=settings.audit_log,
        audit_key=read_key(settings.audit_key_env, settings.audit_key_file),
        logs=logs,
        traces=traces,
    )
    attach(logs, settings.log)
    if operator.audit is not None and not operator.audit.sealed:
        log.warning("the audit log has no key: whoever can write it can write it anew (audit_key_file)")
    return operator
