"""Store in the memory of this process, for as long as it runs."""

from collections import defaultdict
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from feint.gateway.transaction import ChangeSet, Conflict, Snapshot


class MemoryStore:
    """Store for tests, and the reference implementation: every other store must behave like it."""

    shared: ClassVar[bool] = False

    @classmethod
    def open(cls, url: str, model: str) -> Self:
        """As `Store.open`; the URL holds nothing but the scheme."""
        return cls()

    def __init__(self) -> None:
        self._accounts: dict[str, Snapshot] = defaultdict(Snapshot)
        self._shared = Snapshot()
        self._full = 1000

    async def commit(self, client: str, changes: ChangeSet, shared: ChangeSet | None) -> Conflict | None:
        account = self._accounts[client]
        if not (_agrees(account, changes) and (shared is None or _agrees(self._shared, shared))):
            return Conflict(_conflicting(account, changes), _conflicting(self._shared, shared))
        self._accounts[client] = _changed(account, changes)
        if shared is not None:
            self._shared = _changed(self._shared, shared)
        return None

    async def clients(self, most: int = 100) -> list[tuple[str, dict[str, float]]]:
        ordered = sorted(self._accounts.items(), key=lambda entry: -entry[1].totals.get("evidence", 0.0))
        return [(client, dict(known.totals)) for client, known in ordered[:most]]

    async def close(self) -> None:
        pass


def _agrees(account: Snapshot, changes: ChangeSet) -> bool:
    """Return whether the account is as the transaction took it to be."""
    if changes.version is None:
        return repeated(account.totals, changes) is not None
    reused = any(account.used.get(token, 0.0) > changes.now for token in changes.tokens)
    return account.version == changes.version and not reused


def repeated(totals: Mapping[str, float], changes: ChangeSet) -> dict[str, float] | None:
    """Return the shared totals that repeated additions change; None where one comes out otherwise."""
    changed: dict[str, float] = {}
    for addition in changes.added:
        total = changed.get(addition.name, totals.get(addition.name, 0.0))
        raised = max(total, addition.floor) + addition.amount
        if (raised <= addition.limit) != addition.done:
            return None
        if addition.done:
            changed[addition.name] = raised
    return changed


def _changed(account: Snapshot, changes: ChangeSet) -> Snapshot:
    if changes.version is None:
        totals = {**account.totals, **(repeated(account.totals, changes) or {})}
        return Snapshot(account.version + 1, totals, account.rows, account.used)
    rows = dict(account.rows)
    for name, (dropped, new) in changes.rows.items():
        before = () if dropped else rows.get(name, ())
        rows[name] = np.concatenate([before, new]) if len(before) else new  # no rows have no length
    account.used.update(changes.tokens)
    used = _unexpired(account.used, changes.now)
    return Snapshot(account.version + 1, dict(changes.totals), rows, used)


def _unexpired(used: dict[str, float], now: float) -> dict[str, float]:
    """Return `used` without what is void at `now`; it is searched each time that it has doubled."""
    if len(used) < 1024 or len(used) & (len(used) - 1):
        return used
    return {token: until for token, until in used.items() if until > now}


def _conflicting(account: Snapshot, changes: ChangeSet | None) -> Snapshot:
    tokens = () if changes is None else changes.tokens
    used = {token: account.used[token] for token in tokens if token in account.used}
    return Snapshot(account.version, account.totals, account.rows, used)
