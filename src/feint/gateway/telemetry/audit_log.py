"""The audit log: entries of a chain (`audit_chain`), appended to a file by any number of processes.

The head is kept in a file beside the log, which is locked while an entry is appended. Each entry follows the head, so
that a log whose end was changed or cut away does not go on as if nothing had happened. Rotation is left to logrotate:
rename the file, send SIGHUP, and the chain goes on in a new file.
"""

import contextlib
import fcntl
import os
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from feint.errors import BadRecipe, NotWritten
from feint.gateway.record import RequestRecord
from feint.gateway.telemetry.audit_chain import Head, digest, parse, rfc3339, seal

TAIL = 1 << 16  # bytes: no line is longer
WINDOW = 10.0  # seconds in which a client's refusals for one reason are one line, so that asking fills no disk
CLIENTS = 20_000


class AuditLog:
    """One file, to which several processes may append.

    Args:
        path: Where the file is.
        key: The operator's key, with which each entry is sealed; "" for none.
        ship: Called with the head after each entry, and when the log is opened, to keep it elsewhere.

    Attributes:
        path: Where the file is.
        lost: How many lines could not be written since the last one that could.

    Raises:
        NotWritten: The file, or that of its head, cannot be opened.
        BadRecipe: The log is sealed, and no key is given.
    """

    def __init__(self, path: Path | str, key: str = "", *, ship: Callable[[Head], None] = lambda head: None) -> None:
        self.path, self.lost, self._key, self._ship = Path(path), 0, key, ship
        self._file = _open(self.path, os.O_APPEND)
        self._head = _open(self.path.with_name(f"{self.path.name}.head"))
        with self._locked():
            head, _ = self._end()
        if head.number >= 0:
            ship(head)

    @property
    def sealed(self) -> bool:
        """Whether there is a key, so that nobody else can write an entry."""
        return bool(self._key)

    def reopen(self) -> None:
        """Open the file at `path` again, after it was renamed; a new file continues the chain.

        If it cannot be opened `NotWritten` is raised, and the log goes on in the old file.
        """
        fresh = _open(self.path, os.O_APPEND)
        os.close(self._file)
        self._file = fresh

    def enter(self, action: str, *, durable: bool = False, **values: Any) -> Head:
        """Append an entry.

        Args:
            action: What happened.
            durable: Whether the line has to be on the disk before this returns.
            **values: The other fields of the line.

        Returns:
            The head, which is this entry.

        Raises:
            NotWritten: If the line could not be written as a whole.
        """
        lost = {"lost": self.lost} if self.lost else {}
        try:
            with self._locked():
                head = self._append({"time": rfc3339(time.time()), "action": action, **values, **lost})
            if durable:
                os.fsync(self._file)
        except OSError as error:
            self.lost += 1  # the next line that can be written holds this number
            raise NotWritten(f"{self.path.name} ({error.strerror})", "room for a line", "make room") from error
        self.lost = 0
        self._ship(head)
        return head

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._head, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._head, fcntl.LOCK_UN)

    def _append(self, values: dict[str, Any]) -> Head:
        """Append an entry after the head, which may be another process's, in the file that is at the path now."""
        self._follow()
        (head, torn), tail = self._end(), self._tail()
        chained = {"torn": torn} if torn else {}
        chained |= {"log": head.log, "number": head.number + 1, "before": head.hash}
        line = seal(values | chained, self._key)
        content = (b"" if tail.endswith(b"\n") or not tail else b"\n") + line + b"\n"
        if os.write(self._file, content) < len(content):
            raise OSError(0, "a line was torn")
        head = head.follow(line)
        self._note(head)
        return head

    def _follow(self) -> None:
        """Go on in the file that another process made at the path, if the log was renamed."""
        with contextlib.suppress(OSError):
            if not os.path.samestat(self.path.stat(), os.fstat(self._file)):
                fresh = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
                os.close(self._file)
                self._file = fresh

    def _end(self) -> tuple[Head, str]:
        """Return the head, and the hash of a torn line behind it, "" for none.

        A last line that was written without its head counts if it has the seal, and follows the head if there is one.
        Otherwise the chain is broken there.
        """
        noted, lines, torn = self._noted(), self._tail().removesuffix(b"\n").split(b"\n"), ""
        head = noted or Head(re.sub(r"[^\w.-]", "_", f"{socket.gethostname()}_{self.path.name}"))
        entry = parse(lines[-1], self._key)
        if entry is None and lines[-1]:
            torn, entry = digest(lines.pop()), parse(lines[-1], self._key) if lines else None
        if entry is not None and (entry.sealed or not self._key) and (noted is None or entry.follows(head)):
            head = Head(entry.values.get("log", head.log), entry.values.get("number", -1), digest(lines[-1]))
        return head, torn

    def _tail(self) -> bytes:
        return os.pread(self._file, TAIL, max(0, os.fstat(self._file).st_size - TAIL))

    def _noted(self) -> Head | None:
        entry = parse(os.pread(self._head, TAIL, 0), self._key)
        if entry is None or (self._key and not entry.sealed):  # it is new, was torn, or is no longer what was written
            return None
        if "mac" in entry.values and not self._key:
            raise BadRecipe(f"{self.path.name}, which is sealed, and no key", "its key", "name the key's file")
        return Head(*(entry.values[name] for name in Head._fields))

    def _note(self, head: Head) -> None:
        content = seal(head._asdict(), self._key)
        os.pwrite(self._head, content, 0)
        os.ftruncate(self._head, len(content))

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._head) if self._file >= 0 else ():
            os.close(file)
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path, how: int = 0) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
    except OSError as error:
        raise NotWritten(f"{path} ({error.strerror})", "a file that can be written", "choose another") from error


class AuditObserver:
    """Observer that enters refusals, failures, answers without the ledger, changes of rung, and campaign alarms.

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
            if 0 <= now - since < WINDOW and len(self._repeats) < CLIENTS:  # a clock that was set back ends a window
                return
            self._repeats.popitem(last=False)
            if times:
                self.log.enter("repeated", model=model, client=client, reason=reason, times=int(times))

    def _enter(self, action: str, record: RequestRecord, **values: Any) -> None:
        evidence = record.shown_evidence
        self.log.enter(action, model=record.model, client=record.client, evidence=evidence, **values)

    def close(self) -> None:
        """Enter what is still only counted, and close the file; raise `NotWritten` where that cannot be entered."""
        try:
            self.flush(float("inf"))
        finally:
            self.log.close()
