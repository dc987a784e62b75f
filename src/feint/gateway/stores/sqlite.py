"""Store in a SQLite file, for the processes of one machine: concurrent requests share a transaction."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from feint.errors import BadRecipe, StoreLost
from feint.gateway.changes import AccountName, ChangeSet, Kind, Outcome, Snapshot
from feint.gateway.stores import sqlite_file
from feint.gateway.stores.base import answered
from feint.gateway.stores.sqlite_accounts import Accounts, clients, erase, newer, pack
from feint.gateway.stores.sqlite_reader import SqliteReader
from feint.gateway.stores.waiting import Answer, tell
from feint.gateway.turns import Turn

AGAIN = 0.001  # seconds until a file that another process is writing is tried again
EMPTIED = 1.0  # seconds between two times that the log is emptied

Changes = Mapping[AccountName, ChangeSet]

log = logging.getLogger("feint.gateway")


class Pending(NamedTuple):
    """A commit before its transaction.

    The totals of its accounts are packed already, so that one which cannot be packed fails alone.
    """

    changes: Changes
    packed: Mapping[AccountName, bytes]


def prepared(changes: Changes) -> Pending | Exception:
    """Return a commit with its totals packed, or why they cannot be."""
    try:
        return Pending(changes, {name: pack(change.totals) for name, change in changes.items()})
    except Exception as error:
        return error


class SqliteStore:
    """Ledger of a model in the file at `path`, which is made where there is none.

    Another process may write to it for `timeout` seconds at most.

    Commits that come together, or in one turn of the loop, are one transaction; one that comes alone is made at once.
    They are made on the loop: in a thread every statement would wait for the interpreter's lock. No result is set
    before its commit is done. A killed process loses nothing; a power cut may lose what was committed since the log was
    last brought to the disk, a second ago, and never damages the file.
    Raises `MissingData`, `NotWritten` or `DamagedFile`.
    """

    shared: ClassVar[bool] = False

    @classmethod
    def open(cls, url: str, model: str) -> Self:
        """As `Store.open`, for sqlite:PATH."""
        return cls(_path(url), model)

    @classmethod
    def open_reader(cls, url: str, model: str) -> SqliteReader:
        """As `HasReader.open_reader`."""
        return SqliteReader(_path(url), model)

    def __init__(self, path: Path | str, model: str = "", *, timeout: float = 5.0) -> None:
        self.path, self.model, self._timeout = Path(path), model, timeout
        self._log_path = f"{self.path}-wal"
        sqlite_file.create(self.path)
        self._file, self._identity = None, (0, 0)
        self._log: tuple[int, int] | None = None  # identity of the file's log, once it is there
        self._waiting: list[tuple[Pending | Exception, asyncio.Future[Outcome]]] = []
        self._emptied, self._emptying = 0.0, None
        self._turn, self._again = Turn(self._begin), None

    def now(self) -> float:
        """Return the time, as `Store.now`: this machine's."""
        return time.time()

    async def commit(self, changes: Changes) -> Outcome:
        """Commit, as `Store.commit`."""
        if self._turn.enter():
            return await self._queued(prepared(changes))
        (answer,) = await self.commit_each([changes])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def commit_each(self, many: Sequence[Changes]) -> list[Answer]:
        """Commit, as `CommitsEach.commit_each`: now, as these have come together."""
        pending = [*map(prepared, many)]
        answers = None if self._waiting else self._answers(pending)
        if answers is None:
            results = [self._queued(commit) for commit in pending]
            self._begin()
            return [await answered(result) for result in results]
        return answers

    def _queued(self, commit: Pending | Exception) -> asyncio.Future[Outcome]:
        """Return the result to come of a commit that waits."""
        result = asyncio.get_running_loop().create_future()
        self._waiting.append((commit, result))
        return result

    def changed(self, known: Mapping[AccountName, Snapshot]) -> Mapping[AccountName, Snapshot]:
        """Return accounts that another process has changed, as `Rereads.changed`."""
        try:
            file = self._open()
            newest = ((name, newer(file, self.model, name, account.version)) for name, account in known.items())
            return {name: account for name, account in newest if account is not None}
        except (sqlite3.Error, OSError):  # the commit will say what it is
            return {}

    async def clients(self, most: int = 100, *, kind: Kind = "client") -> list[tuple[str, dict[str, float]]]:
        """Return clients or groups, as `Store.clients`."""
        try:
            return await asyncio.to_thread(self._clients, most, kind)
        except sqlite3.Error as error:
            raise _lost(error) from error

    async def erase(self, name: AccountName) -> bool:
        """Erase an account, as `Store.erase`; the file's pages are overwritten, and its log is emptied."""
        try:
            return await asyncio.to_thread(self._erase, name)
        except sqlite3.Error as error:
            raise _lost(error) from error

    async def close(self) -> None:
        """Close, as `Store.close`."""
        if self._emptying is not None:
            await asyncio.wait([self._emptying])  # a failure is logged
        if self._file is not None:
            await asyncio.to_thread(self._file.close)  # the last one to close brings the log to the disk
            self._file = None

    def _erase(self, name: AccountName) -> bool:
        with closing(sqlite_file.connect(self.path, wait=self._timeout)) as file:
            file.execute("PRAGMA secure_delete = ON")
            file.execute("BEGIN IMMEDIATE")
            deleted = erase(file, self.model, name)
            file.execute("COMMIT")
        sqlite_file.empty_log(self.path)
        return deleted

    def _clients(self, most: int, kind: Kind) -> list[tuple[str, dict[str, float]]]:
        with closing(sqlite_file.connect(self.path, wait=self._timeout)) as file:
            return clients(file, self.model, most, kind)

    def _begin(self) -> None:
        """Commit all that wait, unless another process is writing: then they are committed when it is tried again."""
        if self._waiting and self._again is None:
            loop = asyncio.get_running_loop()
            self._together(loop, loop.time() + self._timeout)

    def _together(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        """Commit all that wait, or try again soon where another process is writing."""
        self._again = None
        waiting = [entry for entry in self._waiting if not entry[1].done()]  # who hung up meanwhile is not charged
        answers = self._answers([commit for commit, _ in waiting], wait=loop.time() < deadline)
        if answers is None:
            self._again = loop.call_later(AGAIN, self._together, loop, deadline)
            return
        self._waiting = []
        tell((result for _, result in waiting), answers)

    def _answers(self, pending: Sequence[Pending | Exception], *, wait: bool = True) -> list[Answer] | None:
        """Commit; return the result of each, or None where another process is writing, for which they may `wait`."""
        answers: list[Answer]
        try:
            answers = self._transaction(pending)
        except (sqlite3.Error, OSError) as error:
            if wait and _busy(error):
                return None
            answers = [_lost(error) for _ in pending]
        except Exception as error:  # of a commit that is none
            answers = [error for _ in pending]
        self._tidy()
        return answers

    def _transaction(self, pending: Sequence[Pending | Exception]) -> list[Answer]:
        """Return the result of each commit; raise `sqlite3.Error` or `OSError`, and then nothing was done."""
        file = self._open()
        file.execute("BEGIN IMMEDIATE")
        try:
            accounts = Accounts(file, self.model)
            results = [
                commit if isinstance(commit, Exception) else accounts.commit(commit.changes, commit.packed)
                for commit in pending
            ]
            mark = accounts.write()
            file.execute("COMMIT")
            self._log = self._log or sqlite_file.log_identity(self._log_path)
        except BaseException:
            if file.in_transaction:  # some errors end it themselves
                file.execute("ROLLBACK")
            raise
        return [result if isinstance(result, Exception) else Outcome(*result, mark) for result in results]

    def _open(self) -> sqlite3.Connection:
        """Return the file that is at the path now; one that was moved away is not written to.

        Nor is a log that was removed or replaced, which no other process would read: SQLite itself goes on with it.
        Where this is the last process that has it open, closing the file brings what is in the log to it.
        """
        there = sqlite_file.identity(self.path)
        has_log = self._log is None or self._log == sqlite_file.log_identity(self._log_path)
        if self._file is not None and (there != self._identity or not has_log):
            log.error("the ledger %s, or its log, was moved, removed or replaced: it is opened anew", self.path.name)
            self._file.close()
            self._file = None
        if self._file is None:
            self._file, self._identity, self._log = sqlite_file.open_existing(self.path), there, None
        return self._file

    def _tidy(self) -> None:
        """Empty the log, now and then."""
        if self._emptying is None and (now := time.monotonic()) - self._emptied > EMPTIED:
            self._emptied = now
            self._emptying = asyncio.get_running_loop().run_in_executor(None, sqlite_file.checkpoint, self.path)
            self._emptying.add_done_callback(self._tidied)

    def _tidied(self, done: asyncio.Future[None]) -> None:
        self._emptying = None
        if (error := done.exception()) is not None:
            log.warning("the log of the ledger %s stays as long as it is: %s", self.path, error)


def _path(url: str) -> Path:
    path = url.partition(":")[2]
    if not path:
        raise BadRecipe("a store in SQLite without a file", "sqlite:PATH", "name a file")
    return Path(path)


def _busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _lost(error: Exception) -> StoreLost:
    """Return the error for clients, which names no file."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    lost = StoreLost(f"a ledger's file that fails ({name})", "a file that can be written", "try again later")
    lost.__cause__ = error
    return lost
