"""The accounts of a SQLite ledger within one transaction of SQLite: read once, changed, written once."""

import sqlite3
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from feint.gateway.stores.memory import repeated
from feint.gateway.transaction import ChangeSet, Conflict, Snapshot

CLEARED = 2  # void tokens that are cleared away for each new one, so that no transaction is ever long
pack, unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(dict[str, float]).decode
EMPTY = pack({})
FIND = "SELECT id, version, evidence, totals FROM accounts WHERE model = ? AND shared = ? AND client = ?"
MAKE = "INSERT INTO accounts (model, shared, client, version, evidence, totals) VALUES (?, ?, ?, 0, 0, ?)"
CHANGE = "UPDATE accounts SET version = ?, evidence = ?, totals = ? WHERE id = ?"
USE = """
INSERT INTO tokens VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET expires = excluded.expires WHERE tokens.expires <= ?
"""
CLEAR = """
DELETE FROM tokens WHERE (account, token) IN (SELECT account, token FROM tokens WHERE expires <= ? LIMIT ?)
"""


class Entry:
    """An account as it is in this transaction; the `id` of a new one is 0."""

    __slots__ = "changed", "client", "evidence", "id", "packed", "shared", "version"

    def __init__(self, client: str, shared: bool, row: tuple[int, int, float, bytes] | None) -> None:
        self.client, self.shared, self.changed = client, shared, False
        self.id, self.version, self.evidence, self.packed = row or (0, 0, 0.0, EMPTY)

    def put(self, totals: Mapping[str, float], packed: bytes) -> None:
        """Set other totals."""
        self.version, self.evidence, self.packed = self.version + 1, totals.get("evidence", 0.0), packed
        self.changed = True


class Accounts:
    """Accounts of a `model`, in a transaction of `file` that has begun."""

    def __init__(self, file: sqlite3.Connection, model: str) -> None:
        self._do, self._many, self._model = file.execute, file.executemany, model
        self._entries: dict[tuple[bool, str], Entry] = {}
        self._tokens, self._now = 0, np.inf

    def commit(
        self, client: str, changes: ChangeSet, shared: ChangeSet | None, packed: tuple[bytes, bytes]
    ) -> Conflict | None:
        """Commit, as `Store.commit`; `packed` are the totals of both accounts."""
        account, common, raised = self._entry(client), None, None
        agreed = account.version == changes.version
        if agreed and shared is not None:
            common = self._entry("", shared=True)
            raised = _raised(common, shared)
            agreed = raised is not None and shared.version in (None, common.version)
        agreed = agreed and self._use(account, changes.tokens, changes.now)
        if agreed and common is not None and shared is not None and not self._use(common, shared.tokens, shared.now):
            self._forget(account, changes.tokens)
            agreed = False
        if not agreed:
            return self._other(account, changes, shared)
        if common is not None and shared is not None and raised is not None:
            self._change(common, shared, raised, packed[1] or pack(raised))
        self._change(account, changes, changes.totals, packed[0])
        return None

    def write(self) -> None:
        """Write what was changed, and clear away some of the tokens that are void."""
        changed = [
            (entry.version, entry.evidence, entry.packed, entry.id) for entry in self._entries.values() if entry.changed
        ]
        self._many(CHANGE, changed)
        if self._tokens:
            self._do(CLEAR, (self._now, CLEARED * self._tokens))

    def _entry(self, client: str, *, shared: bool = False) -> Entry:
        entry = self._entries.get((shared, client))
        if entry is None:
            row = self._do(FIND, (self._model, shared, client)).fetchone()
            entry = self._entries[shared, client] = Entry(client, shared, row)
        return entry

    def _use(self, account: Entry, tokens: Mapping[str, float], now: float) -> bool:
        """Enter tokens, unless one of them is in use: then none is."""
        entered = list[str]()
        for token, until in tokens.items():
            if self._do(USE, (self._id(account), token, until, now)).rowcount != 1:
                self._forget(account, entered)
                return False
            entered.append(token)
        if tokens:
            self._tokens, self._now = self._tokens + len(tokens), min(self._now, now)
        return True

    def _forget(self, account: Entry, tokens: Iterable[str]) -> None:
        self._many("DELETE FROM tokens WHERE account = ? AND token = ?", [(account.id, token) for token in tokens])

    def _used(self, account: Entry, tokens: Iterable[str]) -> dict[str, float]:
        """Return when each of the tokens that were used expires."""
        find = "SELECT expires FROM tokens WHERE account = ? AND token = ?"
        rows = {token: self._do(find, (account.id, token)).fetchone() for token in tokens}
        return {token: row[0] for token, row in rows.items() if row is not None}

    def _id(self, account: Entry) -> int:
        """Return the number of the account, which is made where it is new."""
        if not account.id:
            made = self._do(MAKE, (self._model, account.shared, account.client, EMPTY))
            account.id = made.lastrowid or 0
        return account.id

    def _change(self, account: Entry, changes: ChangeSet, totals: Mapping[str, float], packed: bytes) -> None:
        self._id(account)
        account.put(totals, packed)
        for name, (dropped, new) in changes.rows.items():
            if dropped:
                self._do("DELETE FROM rows WHERE account = ? AND name = ?", (account.id, name))
            if len(new):
                numbers = np.ascontiguousarray(new, "<f4")
                self._do(
                    "INSERT INTO rows (account, name, width, numbers) VALUES (?, ?, ?, ?)",
                    (account.id, name, numbers.shape[1], numbers.tobytes()),
                )

    def _other(self, account: Entry, changes: ChangeSet, shared: ChangeSet | None) -> Conflict:
        common = self._entry("", shared=True)
        return Conflict(
            self._known(account, changes.tokens), self._known(common, () if shared is None else shared.tokens)
        )

    def _known(self, account: Entry, tokens: Iterable[str]) -> Snapshot:
        rows = dict[str, list[np.ndarray]]()
        stored = "SELECT name, width, numbers FROM rows WHERE account = ? ORDER BY id"
        for name, width, numbers in self._do(stored, (account.id,)):
            rows.setdefault(name, []).append(np.frombuffer(numbers, "<f4").reshape(-1, width))
        whole = {name: np.concatenate(parts) for name, parts in rows.items()}
        return Snapshot(account.version, unpack(account.packed), whole, self._used(account, tokens))


def _raised(common: Entry, changes: ChangeSet) -> Mapping[str, float] | None:
    """Return the shared totals after a commit; None where a repeated addition comes out otherwise.

    They are those of the transaction where it read any, otherwise the stored ones with its additions repeated.
    """
    if changes.version is not None:
        return changes.totals
    totals = unpack(common.packed)
    changed = repeated(totals, changes)
    return None if changed is None else {**totals, **changed}
