"""Optimistic transactions on the ledger: a request's rules run on a snapshot, and a store commits their changes.

A store commits in one atomic step if the account still has the version of the snapshot. Otherwise it changes nothing
and returns the accounts as they are. The account that all clients share changes far more often, so the store
repeats additions to it, which only have to come out alike.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import ClassVar, Protocol

import numpy as np

from feint.ledger import Account, Rows

# Tokens that are remembered here for each client, 130 bytes each. The store remembers all: one that is forgotten here
# and comes again costs a conflict. With a thousand, memory grew by 15 MiB a minute under load, and would to 2 GB.
TOKENS = 32


@dataclass(slots=True)
class Snapshot:
    """Account as a store last returned it.

    Attributes:
        version: How often it was changed.
        totals: Its totals by name.
        rows: Its arrays by name.
        used: Some of its used tokens, with the time at which each expires.
    """

    version: int = 0
    totals: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, np.ndarray] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Increment:
    """One addition to a shared total; `done` where it was within its bounds."""

    name: str
    amount: float
    floor: float
    limit: float
    done: bool


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Changes to one account.

    Attributes:
        version: The version that the account must still have; None where a shared account was only added to, and the
            store repeats `added`.
        totals: All totals afterwards.
        tokens: Tokens that must be new, with the time at which each expires.
        rows: Rows to append by name, after forgetting those before where the flag is True.
        now: The time of the query.
        added: The additions to a shared account.
    """

    version: int | None
    totals: Mapping[str, float]
    tokens: Mapping[str, float]
    rows: Mapping[str, tuple[bool, np.ndarray]]
    now: float
    added: Sequence[Increment] = ()


@dataclass(frozen=True, slots=True)
class Conflict:
    """Returned by `Store.commit` on a version conflict.

    Attributes:
        account: The client's account as it is.
        shared: The shared account as it is. Of used tokens both hold only those of the transaction.
    """

    account: Snapshot
    shared: Snapshot


class Transaction(Account):
    """Account of one client within a transaction; `changes` are what a store commits."""

    def __init__(self, client: str, snapshot: Snapshot, shared: "Transaction | None" = None) -> None:
        super().__init__(client, shared)
        self._totals = defaultdict(float, snapshot.totals)
        self._snapshot, self._fresh, self._dropped = snapshot, dict[str, float](), set[str]()
        self._now = 0.0

    def once(self, token: str, *, expires: float, now: float) -> bool:
        self._now = max(self._now, now)
        if max(self._snapshot.used.get(token, now), self._fresh.get(token, now)) > now:
            return False
        self._fresh[token] = expires
        return True

    def rows(self, name: str) -> Rows:
        if name not in self._rows:
            self._rows[name] = Rows(self._snapshot.rows.get(name))
        return self._rows[name]

    def drop(self, prefix: str) -> None:
        for name in [name for name in {*self._snapshot.rows, *self._rows} if name.startswith(prefix)]:
            self._dropped.add(name)
            self._rows[name] = Rows()

    def changes(self) -> ChangeSet:
        """Return the changes, for a store."""
        return ChangeSet(self._snapshot.version, self._totals, self._fresh, self._new_rows(), self._now)

    def _new_rows(self) -> dict[str, tuple[bool, np.ndarray]]:
        changes = dict[str, tuple[bool, np.ndarray]]()
        for name, rows in self._rows.items():
            dropped = name in self._dropped
            before = 0 if dropped else len(self._snapshot.rows.get(name, ()))
            if dropped or len(rows) > before:
                changes[name] = dropped, rows.array[before:]
        return changes

    def rebased(self, other: Snapshot) -> Snapshot:
        """Return the account of a conflict, with the tokens that were known before.

        A conflict holds only the tokens of this transaction. Without the earlier ones the next attempt would use one of
        them, conflict, and so on.
        """
        return replace(other, used=self._snapshot.used | other.used)

    def committed(self) -> Snapshot:
        """Return the account as it is once the store has committed."""
        used = self._snapshot.used
        used |= self._fresh
        if len(used) > TOKENS:
            used = dict(islice(used.items(), len(used) - TOKENS, None))
        rows = self._snapshot.rows
        if self._rows:
            rows = {**rows, **{name: changed.array for name, changed in self._rows.items()}}
        return Snapshot(self._snapshot.version + 1, self._totals, rows, used)


class SharedTransaction(Transaction):
    """The account that all clients share, within a transaction.

    Attributes:
        added: The additions, one by one.
        looked: Whether anything was read; then additions cannot be repeated, and the version has to be the same.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__("", snapshot)
        self.added: list[Increment] = []
        self.looked = self.peeked = False

    def total(self, name: str) -> float:
        self.looked = True
        return super().total(name)

    def add(self, name: str, amount: float, *, floor: float = -np.inf, limit: float = np.inf) -> bool:
        done = super().add(name, amount, floor=floor, limit=limit)
        self.added.append(Increment(name, amount, floor, limit, done))
        return done

    def peek(self, name: str) -> float:
        self.peeked = True
        return super().peek(name)

    def add_each(self, amounts: Mapping[str, float], *, floor: float = -np.inf) -> None:
        super().add_each(amounts, floor=floor)
        self.added += [Increment(name, amount, floor, np.inf, True) for name, amount in amounts.items()]

    def add_all(self, amounts: Mapping[str, float]) -> dict[str, float]:
        self.looked = True
        return super().add_all(amounts)

    def change(self, names: Sequence[str], to: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        self.looked = True
        return super().change(names, to)

    def once(self, token: str, *, expires: float, now: float) -> bool:
        self.looked = True
        return super().once(token, expires=expires, now=now)

    def rows(self, name: str) -> Rows:
        self.looked = True
        return super().rows(name)

    def drop(self, prefix: str) -> None:
        self.looked = True
        super().drop(prefix)

    @property
    def touched(self) -> bool:
        """Whether anything was read or added."""
        return self.looked or self.peeked or bool(self.added)

    def changes(self) -> ChangeSet:
        if not self.looked:
            return ChangeSet(None, {}, {}, {}, self._now, self.added)
        return super().changes()

    def committed(self) -> Snapshot:
        return (
            super().committed() if self.looked else Snapshot(self._snapshot.version, self._totals, self._snapshot.rows)
        )


class Store(Protocol):
    """Storage of a ledger: the accounts of one model's clients, and one account that all of them share.

    An account has a version, which every change raises by 1, totals by name, rows by name, and used tokens until they
    expire. A store changes accounts by `commit` alone, with optimistic concurrency: a `ChangeSet` states the version
    that it was made for, and is committed whole or not at all.

    - Both accounts change in one atomic step, or neither does. Commits of all processes that use one URL are in one
      order; only a store with `shared` may be used by processes on several machines.
    - A change set whose `version` is not the account's, or of whose `tokens` one was used and has not expired at `now`,
      is a conflict: nothing changes, and `Conflict` holds both accounts, with those of its tokens that are used.
    - Of a change set without a version (the shared account, where nothing was read of it) `added` is repeated in its
      order: each total becomes max(total, floor) + amount where that is within `limit`. It is a conflict unless each
      addition is possible exactly where it was `done`.
    - Otherwise totals are replaced, tokens are remembered until they expire, and rows are appended, after those before
      were dropped where the change set demands it.

    `MemoryStore` is the reference: tests/test_ledger_stores.py holds every other store to its answers. Every method
    raises `StoreLost` where the storage does not answer. A class is found by the scheme of a URL: Feint's own in
    `feint.gateway.stores.STORES`, others as entry points of the group `feint.stores`.
    """

    shared: ClassVar[bool]

    @classmethod
    def open(cls, url: str, model: str) -> "Store":
        """Return the ledger of a model at a URL. Raises `BadRecipe` for a URL that is not one of this store's."""
        ...

    async def commit(self, client: str, changes: ChangeSet, shared: ChangeSet | None) -> Conflict | None:
        """Change both accounts in one atomic step.

        Args:
            client: The client whose account is changed.
            changes: The changes to the client's account.
            shared: The changes to the shared account, if any.

        Returns:
            None if both were changed; the accounts as they are if one was otherwise than in its snapshot, and nothing
            was changed.
        """
        ...

    async def clients(self, most: int = 100) -> list[tuple[str, dict[str, float]]]:
        """Return the clients against whom there is most evidence, with their totals."""
        ...

    async def close(self) -> None:
        """Close files and connections."""
        ...


class LedgerSession:
    """Ledger of a gateway: opens transactions on the last known accounts, and commits them to a store.

    Args:
        store: Where the ledger is kept.
        most: The number of clients whose accounts are remembered here, the most recent ones.
    """

    def __init__(self, store: Store, *, most: int = 20_000) -> None:
        self.store, self._most = store, most
        self._snapshots: OrderedDict[str, Snapshot] = OrderedDict()
        self._shared = Snapshot()

    def begin(self, client: str) -> Transaction:
        """Return a transaction on the account of `client` as it was last known here."""
        return Transaction(client, self._snapshots.get(client) or Snapshot(), SharedTransaction(self._shared))

    async def commit(self, transaction: Transaction) -> bool:
        """Commit a transaction, or raise `StoreLost` if the store does not answer.

        Returns:
            Whether the store took it. Otherwise nothing was changed, and the next transaction begins with the accounts
            as they are.
        """
        shared = transaction.shared
        assert isinstance(shared, SharedTransaction)  # `transaction` made it
        other = await self.store.commit(
            transaction.client, transaction.changes(), shared.changes() if shared.touched else None
        )
        self._remember(
            transaction.client, transaction.committed() if other is None else transaction.rebased(other.account)
        )
        if shared.touched or other is not None:
            self._shared = shared.committed() if other is None else shared.rebased(other.shared)
        return other is None

    def _remember(self, client: str, snapshot: Snapshot) -> None:
        self._snapshots[client] = snapshot
        self._snapshots.move_to_end(client)
        if len(self._snapshots) > self._most:
            self._snapshots.popitem(last=False)
