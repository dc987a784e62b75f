"""Reader of a SQLite ledger: of one in use, of a copy, or on a file system that takes no writes."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from feint.errors import DamagedFile, MissingData
from feint.gateway.changes import NEVER, AccountName, ChangeSet, Kind, Snapshot
from feint.gateway.stores import sqlite_file
from feint.gateway.stores.sqlite_accounts import Accounts, clients

T = TypeVar("T")


class SqliteReader:
    """Accounts of a model in the file at `path`, as `LedgerReader`; nothing is written beside it."""

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model

    async def account(self, name: AccountName) -> Snapshot:
        """Return an account, as `LedgerReader.account`."""

        def found(file: sqlite3.Connection) -> Snapshot:
            return Accounts(file, self._model).commit({name: ChangeSet(NEVER)}, {})[1][name]

        return await asyncio.to_thread(self._read, found)

    async def clients(self, most: int = 100, *, kind: Kind = "client") -> list[tuple[str, dict[str, float]]]:
        """Return clients or groups, as `Store.clients`."""
        return await asyncio.to_thread(self._read, lambda file: clients(file, self._model, most, kind))

    async def close(self) -> None:
        """Close, as `Store.close`: the file is open only while it is read."""

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if not self._path.is_file():
            raise MissingData(f"the ledger {self._path}, which is not there", "a file", "check store in [ledger]")
        try:
            with closing(sqlite_file.open_to_read(self._path)) as file:
                file.execute("BEGIN")  # of one moment, while a gateway writes
                return query(file)
        except sqlite3.Error as error:
            raise DamagedFile(
                f"the ledger {self._path} ({error})", f"one of format {sqlite_file.FORMAT}",
                "copy one in use by sqlite3 LEDGER '.backup COPY'; a start of a gateway brings earlier ones up to date",
            ) from error  # fmt: skip
