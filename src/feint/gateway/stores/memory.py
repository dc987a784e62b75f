"""Store in the memory of this process, for as long as it runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np

from feint.gateway.changes import AccountName, ChangeSet, Kind, Outcome, Snapshot
from feint.gateway.stores.base import answered
from feint.ledger import raised_total


class MemoryStore:
    """Store for tests, and the reference implementation: every other store must behave like it."""

    shared: ClassVar[bool] = False

    @classmethod
    def open(cls, url: str, model: str) -> Self:
        """As `Store.open`; the URL holds nothing but the scheme."""
        return cls()

    def __init__(self) -> None:
        self._accounts: dict[AccountName, Snapshot] = {}

    def now(self) -> float:
        """Return the time, as `Store.now`: this machine's."""
        return time.time()

    async def commit(self, changes: Mapping[AccountName, ChangeSet]) -> Outcome:
        accounts = {name: self._accounts.get(name) or Snapshot() for name in changes}
        if not all(_agrees(accounts[name], change) for name, change in changes.items()):
            return Outcome(False, {name: _conflicting(accounts[name], change) for name, change in changes.items()})
        changed = {name: _changed(accounts[name], change) for name, change in changes.items()}
        self._accounts |= {name: account for name, account in changed.items() if account.version}
        return Outcome(
            True, {name: _added(account) for name, account in changed.items() if changes[name].version is None}
        )

    async def commit_each(self, many: Sequence[Mapping[AccountName, ChangeSet]]) -> list[Outcome | Exception]:
        return [await answered(self.commit(changes)) for changes in many]

    async def clients(self, most: int = 100, *, kind: Kind = "client") -> list[tuple[str, dict[str, float]]]:
        clients = [(name.name, dict(known.totals)) for name, known in self._accounts.items() if name.kind == kind]
        return sorted(clients, key=lambda entry: -entry[1].get("evidence", 0.0))[:most]

    async def erase(self, name: AccountName) -> bool:
        return self._accounts.pop(name, None) is not None

    async def close(self) -> None:
        pass


def _agrees(account: Snapshot, changes: ChangeSet) -> bool:
    """Return whether the account is as the transaction took it to be."""
    if changes.version is None:
        return repeated(account.totals, changes) is not None
    reused = any(account.used.get(token, 0.0) > changes.now for token in changes.tokens)
    return (account.version, account.writer) == (changes.version, changes.after) and not reused


def repeated(totals: Mapping[str, float], changes: ChangeSet) -> dict[str, float] | None:
    """Return all totals after repeated additions; None where one comes out otherwise."""
    changed = dict(totals)
    for addition in changes.added:
        raised = raised_total(changed.get(addition.name, 0.0), addition.amount, addition.floor, addition.ceiling)
        if (raised <= addition.limit) != addition.done:
            return None
        if addition.done:
            changed[addition.name] = raised
    return changed


def _changed(account: Snapshot, changes: ChangeSet) -> Snapshot:
    if changes.version is None:
        totals = repeated(account.totals, changes) or {}
        return replace(account, version=account.version + changes.adds, totals=totals)
    rows = dict(account.rows)
    for name, (dropped, new) in changes.rows.items():
        before = () if dropped else rows.get(name, ())
        rows[name] = np.concatenate([before, new]) if len(before) else new  # no rows have no length
    account.used.update(changes.tokens)
    used = _unexpired(account.used, changes.now)
    return Snapshot(account.version + 1, dict(changes.totals), rows, used, writer=changes.writer)


def _added(account: Snapshot) -> Snapshot:
    """Return what a commit returns of an account that was only added to."""
    return Snapshot(account.version, account.totals)


def _unexpired(used: dict[str, float], now: float) -> dict[str, float]:
    """Return `used` without what is void at `now`; it is searched each time that it has doubled."""
    if len(used) < 1024 or len(used) & (len(used) - 1):
        return used
    return {token: until for token, until in used.items() if until > now}


def _conflicting(account: Snapshot, changes: ChangeSet) -> Snapshot:
    used = {token: account.used[token] for token in changes.tokens if token in account.used}
    return replace(account, used=used)
