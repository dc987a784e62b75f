"""The accounts of a SQLite ledger within one transaction of SQLite: read once, changed, written once."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from feint.gateway.changes import AccountName, ChangeSet, Kind, LedgerMark, Snapshot
from feint.gateway.stores.memory import repeated

CLEARED = 2  # void tokens that are cleared away for each new one, so that no transaction is ever long
pack, unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(dict[str, float]).decode
EMPTY = pack({})
FIND = "SELECT id, version, evidence, totals, writer FROM accounts WHERE model = ? AND kind = ? AND name = ?"
READ = """
SELECT version, writer, totals, rows.name, width, numbers FROM accounts LEFT JOIN rows ON account = accounts.id
WHERE model = ? AND kind = ? AND accounts.name = ? AND version > ? ORDER BY rows.id
"""
MAKE = "INSERT INTO accounts (model, kind, name, version, evidence, totals) VALUES (?, ?, ?, 0, 0, ?)"
CHANGE = "UPDATE accounts SET version = ?, evidence = ?, totals = ?, writer = ? WHERE id = ?"
MARK = "UPDATE ledger SET commits = commits + ? RETURNING id, commits, erased"
RANKED = """
SELECT name, totals FROM accounts WHERE model = ? AND kind = ? AND version > 0 ORDER BY evidence DESC LIMIT ?
"""
REPLACE = "UPDATE rows SET width = ?, numbers = ? WHERE account = ? AND name = ?"
USE = """
INSERT INTO tokens VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET expires = excluded.expires WHERE tokens.expires <= ?
"""
CLEAR = """
DELETE FROM tokens WHERE (account, token) IN
(SELECT account, token FROM tokens WHERE account = ? AND expires <= ? LIMIT ?)
"""  # of an account, by its own token time: by another's a token would be forgotten that a clock set back makes valid


def erase(file: sqlite3.Connection, model: str, name: AccountName) -> bool:
    """Delete an account of a model in a transaction of `file`; return whether there was one."""
    row = file.execute(FIND, (model, *name)).fetchone()
    for table, column in ("tokens", "account"), ("rows", "account"), ("accounts", "id"):
        file.execute(f"DELETE FROM {table} WHERE {column} = ?", (row[0] if row else 0,))
    file.execute("UPDATE ledger SET erased = erased + ?", (row is not None,))
    return row is not None


def clients(file: sqlite3.Connection, model: str, most: int, kind: Kind) -> list[tuple[str, dict[str, float]]]:
    """Return clients or groups of a model, as `Store.clients`."""
    rows = file.execute(RANKED, (model, kind, most)).fetchall()
    return [(name, unpack(totals)) for name, totals in rows]


def newer(file: sqlite3.Connection, model: str, name: AccountName, version: int) -> Snapshot | None:
    """Return an account of a model without its tokens, None where it has no later version."""
    parts = file.execute(READ, (model, *name, version)).fetchall()
    if not parts:
        return None
    version, writer, packed = parts[0][:3]
    rows = _arrays(row[3:] for row in parts if row[3] is not None)
    return Snapshot(version, unpack(packed), rows, writer=writer)


class Entry:
    """An account as it is in this transaction; the `id` of a new one is 0."""

    __slots__ = "changed", "evidence", "id", "name", "packed", "version", "writer"

    def __init__(self, name: AccountName, row: tuple[int, int, float, bytes, str] | None) -> None:
        self.name, self.changed = name, False
        self.id, self.version, self.evidence, self.packed, self.writer = row or (0, 0, 0.0, EMPTY, "")

    def put(self, totals: Mapping[str, float], packed: bytes) -> None:
        """Set other totals."""
        self.version, self.evidence, self.packed = self.version + 1, totals.get("evidence", 0.0), packed
        self.changed = True


class Accounts:
    """Accounts of a `model`, in a transaction of `file` that has begun."""

    def __init__(self, file: sqlite3.Connection, model: str) -> None:
        self._do, self._many, self._model = file.execute, file.executemany, model
        self._entries: dict[AccountName, Entry] = {}
        self._tokens: dict[int, tuple[int, float]] = {}  # number of those entered, and when, by account

    def commit(
        self, changes: Mapping[AccountName, ChangeSet], packed: Mapping[AccountName, bytes]
    ) -> tuple[bool, dict[AccountName, Snapshot]]:
        """Commit, as `Store.commit`; `packed` are the totals of the accounts that were read.

        Returns:
            Whether it was made, and accounts, as in an `Outcome`.
        """
        parts = [(self._entry(name), change) for name, change in changes.items()]
        raised = {
            entry.name: repeated(unpack(entry.packed), change) for entry, change in parts if change.version is None
        }
        if None in raised.values() or any(_moved(entry, change) for entry, change in parts) or not self._use(parts):
            return False, {entry.name: self._known(entry, change.tokens) for entry, change in parts}
        accounts = dict[AccountName, Snapshot]()
        for entry, change in parts:
            if (totals := raised.get(entry.name)) is None:
                self._change(entry, change, packed[entry.name])
                continue
            if change.adds:
                self._id(entry)
                entry.put(totals, pack(totals))
            accounts[entry.name] = Snapshot(entry.version, totals)
        return True, accounts

    def write(self) -> LedgerMark:
        """Write what was changed, and clear away some of the tokens that are void; return the ledger's mark."""
        changed = [
            (entry.version, entry.evidence, entry.packed, entry.writer, entry.id)
            for entry in self._entries.values()
            if entry.changed
        ]
        self._many(CHANGE, changed)
        for account, (count, now) in self._tokens.items():
            self._do(CLEAR, (account, now, CLEARED * count))
        return LedgerMark(*self._do(MARK, (len(changed),)).fetchone())

    def _entry(self, name: AccountName) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            row = self._do(FIND, (self._model, *name)).fetchone()
            entry = self._entries[name] = Entry(name, row)
        return entry

    def _use(self, parts: Sequence[tuple[Entry, ChangeSet]]) -> bool:
        """Enter the tokens of all accounts, unless one of them is in use: then none is."""
        entered = list[tuple[int, str]]()
        for entry, change in parts:
            for token, until in change.tokens.items():
                if self._do(USE, (self._id(entry), token, until, change.now)).rowcount != 1:
                    self._many("DELETE FROM tokens WHERE account = ? AND token = ?", entered)
                    return False
                entered.append((entry.id, token))
        for entry, change in parts:
            if change.tokens:
                self._tokens[entry.id] = self._tokens.get(entry.id, (0, 0.0))[0] + len(change.tokens), change.now
        return True

    def _used(self, account: Entry, tokens: Iterable[str]) -> dict[str, float]:
        """Return when each of the tokens that were used expires."""
        find = "SELECT expires FROM tokens WHERE account = ? AND token = ?"
        rows = {token: self._do(find, (account.id, token)).fetchone() for token in tokens}
        return {token: row[0] for token, row in rows.items() if row is not None}

    def _id(self, account: Entry) -> int:
        """Return the number of the account, which is made where it is new."""
        if not account.id:
            made = self._do(MAKE, (self._model, *account.name, EMPTY))
            account.id = made.lastrowid or 0
        return account.id

    def _change(self, account: Entry, changes: ChangeSet, packed: bytes) -> None:
        self._id(account)
        account.put(changes.totals, packed)
        account.writer = changes.writer
        for name, (dropped, new) in changes.rows.items():
            numbers = np.ascontiguousarray(new, "<f4")
            row = (numbers.shape[1], numbers.tobytes(), account.id, name) if len(new) else ()
            if dropped and row and self._do(REPLACE, row).rowcount == 1:  # as a detector's state: no index is changed
                continue
            if dropped:
                self._do("DELETE FROM rows WHERE account = ? AND name = ?", (account.id, name))
            if row:
                self._do("INSERT INTO rows (width, numbers, account, name) VALUES (?, ?, ?, ?)", row)

    def _known(self, account: Entry, tokens: Iterable[str]) -> Snapshot:
        stored = "SELECT name, width, numbers FROM rows WHERE account = ? ORDER BY id"
        rows, used = _arrays(self._do(stored, (account.id,))), self._used(account, tokens)
        return Snapshot(account.version, unpack(account.packed), rows, used, writer=account.writer)


def _arrays(rows: Iterable[tuple[str, int, bytes]]) -> dict[str, np.ndarray]:
    """Return the arrays of an account by name, of the names, widths and numbers of its rows."""
    parts = dict[str, list[np.ndarray]]()
    for name, width, numbers in rows:
        parts.setdefault(name, []).append(np.frombuffer(numbers, "<f4").reshape(-1, width))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _moved(account: Entry, changes: ChangeSet) -> bool:
    """Return whether an account has changed since it was read."""
    return changes.version is not None and (account.version, account.writer) != (changes.version, changes.after)
