"""The audit log: JSON lines that are only ever appended, each with the hash of the line before it.

A line that is changed, taken out or put in breaks the chain at the next one. A cut end, or a log written anew as a
whole, does not show in the file itself: keep the last hash that `verify` tells somewhere else.
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
from feint.gateway.decision import Decision

TAIL = 1 << 16  # bytes: no line is longer
WINDOW = 10.0  # seconds in which a client's refusals for one reason are one line, so that asking fills no disk
CLIENTS = 20_000


class AuditLog:
    """One file, which several processes may write. Moved away, it is begun anew at its old place by the next line."""

    def __init__(self, path: Path | str) -> None:
        self.path, self.lost = Path(path), 0
        self._file, self._size, self._before = -1, -1, ""
        try:
            self._open()
        except OSError as error:
            raise NotWritten(f"{path} ({error.strerror})", "a file that can be written", "choose another") from error

    def enter(self, action: str, *, durable: bool = False, **told: Any) -> None:
        """Append a line; `durable`, it is on the disk before this returns. Raises `NotWritten`."""
        lost = {"lost": self.lost} if self.lost else {}
        try:
            if self._moved():
                self._open()
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._append({"time": moment(time.time()), "action": action, **told, **lost})
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            if durable:
                os.fsync(self._file)
        except OSError as error:
            self.lost += 1  # the next line that can be written says how many could not
            raise NotWritten(f"{self.path.name} ({error.strerror})", "room for a line", "make room") from error
        self.lost = 0

    def _append(self, told: dict[str, Any]) -> None:
        size = os.fstat(self._file).st_size
        torn = False
        if size != self._size:  # another process wrote, or a line was torn
            rest = os.pread(self._file, TAIL, max(0, size - TAIL))
            torn = bool(rest) and not rest.endswith(b"\n")
            self._before = digest(rest.removesuffix(b"\n").rpartition(b"\n")[2]) if rest else self._before
        line = json.dumps(told | {"before": self._before}, ensure_ascii=False, separators=(",", ":")).encode()
        whole = (b"\n" if torn else b"") + line + b"\n"
        written = os.write(self._file, whole)
        if written < len(whole):
            self._size = -1
            raise OSError(0, "a line was torn")
        self._size, self._before = size + written, digest(line)

    def _moved(self) -> bool:
        try:
            return self.path.stat().st_ino != os.fstat(self._file).st_ino
        except OSError:
            return True

    def _open(self) -> None:
        """Open the file; a new one goes on with the chain of the one that this log had before."""
        new = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.close()
        self._file, self._size = new, -1

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Audited:
    """A `Record` that enters refusals, failures and changes of rung. A client's refusals of one model for one reason
    within `WINDOW` are one line at their beginning and one, with their number, after their end."""

    def __init__(self, log: AuditLog) -> None:
        self.log = log
        self._rungs: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._repeats: OrderedDict[tuple[str, str, str], list[float]] = OrderedDict()  # since when, how many

    def __call__(self, decision: Decision) -> None:
        """Enter what this decision changes. What cannot be written is counted in `log.lost`, never raised."""
        at = (decision.model, decision.client)
        try:
            if self._repeats:
                self.flush(decision.time)
            if decision.rung > self._rungs.get(at, 0):  # evidence never falls: a lower one was not looked up
                self._enter("rung", decision, reached=decision.rung, left=self._rungs.get(at, 0))
                self._remember(at, decision.rung)
            if decision.outcome != "answered":
                self._ended(decision)
        except NotWritten:
            return

    def _ended(self, decision: Decision) -> None:
        kind = (decision.model, decision.client, decision.reason)
        if kind in self._repeats:
            self._repeats[kind][1] += 1
            return
        self._repeats[kind] = [decision.time, 0]
        self._enter(decision.outcome, decision, reason=decision.reason, queries=decision.queries)

    def flush(self, now: float, *, window: float = WINDOW) -> None:
        """Enter the refusals that were counted and whose window is over, the oldest first."""
        while self._repeats:
            (model, client, reason), (since, times) = next(iter(self._repeats.items()))
            if now - since < window and len(self._repeats) < CLIENTS:
                return
            self._repeats.popitem(last=False)
            if times:
                self.log.enter("repeated", model=model, client=client, reason=reason, times=int(times))

    def _enter(self, action: str, decision: Decision, **told: Any) -> None:
        evidence = round(decision.evidence, 4)
        self.log.enter(action, model=decision.model, client=decision.client, evidence=evidence, **told)

    def _remember(self, at: tuple[str, str], rung: int) -> None:
        self._rungs[at] = rung
        self._rungs.move_to_end(at)
        if len(self._rungs) > CLIENTS:
            self._rungs.popitem(last=False)

    def close(self) -> None:
        """Enter what is still only counted, and let go of the file."""
        self.flush(float("inf"))
        self.log.close()


@dataclass(frozen=True)
class Verified:
    """A log that is whole: its `lines`, those `torn` by a full disk or a lost machine, the `last` line's hash, and the
    one that its first line `follows`, "" where that is the first of all."""

    lines: int
    torn: int
    last: str
    follows: str


def verify(paths: Iterable[Path | str]) -> Verified:
    """Check the chain through these files, the oldest first. Raises `DamagedFile`, which names the line."""
    lines, torn, before, follows = 0, 0, "", ""
    for path in map(Path, paths):
        if not path.is_file():
            raise MissingData(f"{path}, which does not exist", "an audit log", "name another")
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.rstrip(b"\n")
                try:
                    said = json.loads(line)["before"]
                except (ValueError, KeyError, TypeError):
                    said, torn = before, torn + 1
                follows = follows if lines else said
                if said != before and lines:
                    where = f"{path}, line {number}, which does not follow the line before it"
                    raise DamagedFile(where, "an unbroken chain", "lines were changed, taken out or put in")
                lines, before = lines + 1, digest(line)
    return Verified(lines, torn, before, follows)


def digest(line: bytes) -> str:
    """The hash of a line, without its end: 32 hexadecimal digits of BLAKE2b."""
    return hashlib.blake2b(line, digest_size=16).hexdigest()


def moment(seconds: float) -> str:
    """A time in UTC as RFC 3339 writes it, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
