"""The audit log: JSON lines that are only ever appended, each with the hash of the line before it.

A line that is changed, taken out or put in breaks the chain at the next one. A cut end, or a log written anew as a
whole, does not show in the file itself: keep the last hash that `verify` returns somewhere else. Rotation is left to
logrotate: rename the file, send SIGHUP, and the chain goes on in a new file.
"""

import fcntl
import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from feint.errors import DamagedFile, MissingData, NotWritten
from feint.gateway.record import RequestRecord

TAIL = 1 << 16  # bytes: no line is longer
WINDOW = 10.0  # seconds in which a client's refusals for one reason are one line, so that asking fills no disk
CLIENTS = 20_000


class AuditLog:
    """One file, to which several processes may append.

    Attributes:
        path: Where the file is.
        lost: How many lines could not be written since the last one that could.
    """

    def __init__(self, path: Path | str) -> None:
        self.path, self.lost, self._before = Path(path), 0, ""
        self._file = self._open()

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NotWritten(
                f"{self.path} ({error.strerror})", "a file that can be written", "choose another"
            ) from error

    def reopen(self) -> None:
        """Open the file at `path` again, after it was renamed; a new file continues the chain.

        If it cannot be opened `NotWritten` is raised, and the log goes on in the old file.
        """
        fresh = self._open()
        self.close()
        self._file = fresh

    def enter(self, action: str, *, durable: bool = False, **values: Any) -> None:
        """Append a line.

        Args:
            action: What happened.
            durable: Whether the line has to be on the disk before this returns.
            **values: The other fields of the line.

        Raises:
            NotWritten: If the line could not be written as a whole.
        """
        lost = {"lost": self.lost} if self.lost else {}
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._append({"time": rfc3339(time.time()), "action": action, **values, **lost})
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            if durable:
                os.fsync(self._file)
        except OSError as error:
            self.lost += 1  # the next line that can be written holds this number
            raise NotWritten(f"{self.path.name} ({error.strerror})", "room for a line", "make room") from error
        self.lost = 0

    def _append(self, values: dict[str, Any]) -> None:
        """Append a line after the one that is the last now, perhaps another process's, perhaps a torn one."""
        end = os.pread(self._file, TAIL, max(0, os.fstat(self._file).st_size - TAIL))
        before = digest(end.removesuffix(b"\n").rpartition(b"\n")[2]) if end else self._before
        line = json.dumps(values | {"before": before}, ensure_ascii=False, separators=(",", ":")).encode()
        content = (b"\n" if end and not end.endswith(b"\n") else b"") + line + b"\n"
        if os.write(self._file, content) < len(content):
            raise OSError(0, "a line was torn")
        self._before = digest(line)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AuditObserver:
    """Observer that enters refusals, failures, answers without the ledger, changes of rung, and the begin and end of campaign alarms.

    A client's refusals of one model for one reason within `WINDOW` are one line at their beginning, and one with their
    number after their end. A line that cannot be written is counted in `AuditLog.lost`, never raised.
    """

    def __init__(self, log: AuditLog) -> None:
        self.log = log
        self._alarms: dict[str, bool] = {}
        self._rungs: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._repeats: OrderedDict[tuple[str, str, str], list[float]] = OrderedDict()  # since when, how many

    def __call__(self, record: RequestRecord) -> None:
        """Enter what a request changed."""
        client = record.model, record.client
        try:
            self.flush(record.time)
            if record.campaign is not None and record.campaign != self._alarms.get(record.model, False):
                self._alarms[record.model] = record.campaign
                action = "campaign alarm begins" if record.campaign else "campaign alarm ends"
                self.log.enter(action, model=record.model)
            if record.rung > self._rungs.get(client, 0):  # evidence never falls: a lower one was not looked up
                self._enter("rung", record, reached=record.rung, left=self._rungs.pop(client, 0))
                self._rungs[client] = record.rung
                if len(self._rungs) > CLIENTS:
                    self._rungs.popitem(last=False)
            if record.reason:
                self._count(record)
        except NotWritten:
            return

    def _count(self, record: RequestRecord) -> None:
        kind = record.model, record.client, record.reason
        if kind in self._repeats:
            self._repeats[kind][1] += 1
            return
        self._repeats[kind] = [record.time, 0]
        self._enter(record.outcome, record, reason=record.reason, queries=record.queries)

    def flush(self, now: float) -> None:
        """Enter the number of refusals in every window that is over at `now`, the oldest first."""
        while self._repeats:
            (model, client, reason), (since, times) = next(iter(self._repeats.items()))
            if now - since < WINDOW and len(self._repeats) < CLIENTS:
                return
            self._repeats.popitem(last=False)
            if times:
                self.log.enter("repeated", model=model, client=client, reason=reason, times=int(times))

    def _enter(self, action: str, record: RequestRecord, **values: Any) -> None:
        evidence = round(record.evidence, 4)
        self.log.enter(action, model=record.model, client=record.client, evidence=evidence, **values)

    def close(self) -> None:
        """Enter what is still only counted, and close the file."""
        self.flush(float("inf"))
        self.log.close()


@dataclass(frozen=True)
class VerifiedLog:
    """An unbroken chain.

    Attributes:
        lines: How many lines there are.
        torn: How many of them were torn by a full disk or a lost machine.
        last: The hash of the last line.
        follows: The hash that the first line follows, "" where that is the first of all.
    """

    lines: int
    torn: int
    last: str
    follows: str


def verify(paths: Iterable[Path | str]) -> VerifiedLog:
    """Check the chain through some files.

    Args:
        paths: The files, the oldest first.

    Returns:
        The chain's length and ends.

    Raises:
        MissingData: If a file does not exist.
        DamagedFile: If the chain is broken; the error names the line.
    """
    lines, torn, last, first = 0, 0, "", ""
    for path in map(Path, paths):
        if not path.is_file():
            raise MissingData(f"{path}, which does not exist", "an audit log", "name another")
        with path.open("rb") as file:
            for number, line in enumerate((line.rstrip(b"\n") for line in file), 1):
                try:
                    before = json.loads(line)["before"]
                except (ValueError, KeyError, TypeError):
                    before, torn = last, torn + 1
                first = first if lines else before
                if before != last and lines:
                    got = f"{path}, line {number}, which does not follow the line before it"
                    raise DamagedFile(got, "an unbroken chain", "lines were changed, taken out or put in")
                lines, last = lines + 1, digest(line)
    return VerifiedLog(lines, torn, last, first)


def digest(line: bytes) -> str:
    """Return the hash of a line, without its end: 32 hexadecimal digits of BLAKE2b."""
    return hashlib.blake2b(line, digest_size=16).hexdigest()


def rfc3339(seconds: float) -> str:
    """Return a time in UTC as RFC 3339 writes it, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
