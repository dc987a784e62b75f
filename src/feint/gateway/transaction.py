"""Optimistic transactions on the ledger: a request's rules run on a snapshot, and a store commits their changes.

A store commits in one atomic step if every account still has the version of its snapshot. Otherwise it changes nothing
and returns the accounts as they are. An account that was only added to needs no version: the store repeats the
additions, which only have to come out alike, so that replicas and clients add to one account at once.
"""

import logging
import math
import secrets
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np

from feint.errors import StoreRolledBack
from feint.ledger import CLOCK_SLACK, Account, Change, Rows

# Tokens that are remembered here for each client, 130 bytes each. The store remembers all: one that is forgotten here
# and comes again costs a conflict. With a thousand, memory grew by 15 MiB a minute under load, and would to 2 GB.
TOKENS = 32
FRESH = 1.0  # seconds for which totals may be peeked at


Kind = Literal["client", "group", "shared"]


class AccountName(NamedTuple):
    """Name of an account in a store. Accounts of two kinds share nothing, whatever their names."""

    kind: Kind
    name: str = ""


SHARED = AccountName("shared")
REPLICAS = AccountName("shared", "replicas")
NEVER = -1  # a version that no account has
ACCEPT = "restore it, or take it as it is: reload the gateway, or restart it without the file [ledger] mark"

log = logging.getLogger("feint.gateway")


@dataclass(slots=True)
class Snapshot:
    """Account as a store last returned it.

    Attributes:
        version: How often it was changed.
        totals: Its totals by name.
        rows: Its arrays by name.
        used: Some of its used tokens, with the time at which each expires.
        at: When it was returned, in seconds of the monotonic clock.
        writer: Writer of the commit that last replaced its totals.
        before: Account on which this one was built by a commit that the store has not confirmed yet; otherwise None.
    """

    version: int = 0
    totals: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, np.ndarray] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    at: float = field(default_factory=time.monotonic, compare=False)
    writer: str = field(default="", compare=False)
    before: "Snapshot | None" = field(default=None, compare=False, repr=False)

    @property
    def settled(self) -> "Snapshot":
        """The last of the accounts on which this one was built that the store has confirmed."""
        account = self
        while account.before is not None:
            account = account.before
        return account

    def builds_on(self, other: "Snapshot") -> bool:
        """Return whether this account is `other`, or was built on it."""
        account = self
        while account is not None and account is not other:
            account = account.before
        return account is other

    def added_to(self, other: "Snapshot", changes: "ChangeSet") -> "Snapshot":
        """Return this account with the totals of `other`, to which the additions in `changes` have led.

        Its version is that of `other` only where nothing else was changed, as rows and tokens are those of this one.
        """
        alone = other.version - changes.adds == self.version
        return replace(self, version=other.version if alone else self.version, totals=other.totals, at=other.at)


class Increment(NamedTuple):
    """One addition to a total; `done` where it was within its bounds."""

    name: str
    amount: float
    floor: float
    limit: float
    done: bool
    ceiling: float = math.inf


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Changes to one account.

    Attributes:
        version: The version that the account must still have; None where it was only added to or peeked at, and the
            store repeats `added`.
        totals: All totals afterwards.
        tokens: Tokens that must be new, with the time at which each expires.
        rows: Rows to append by name, after forgetting those before where the flag is True.
        now: The time of the query.
        added: The additions, in their order.
        after: The writer that the account must still have, beside its version.
        writer: Name of this commit, which no other one has.
    """

    version: int | None
    totals: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, tuple[bool, np.ndarray]] = field(default_factory=dict)
    now: float = 0.0
    added: Sequence[Increment] = ()
    after: str = ""
    writer: str = ""

    @property
    def adds(self) -> bool:
        """Whether additions change a total; without a version nothing else does."""
        return any(entry.done for entry in self.added)


class LedgerMark(NamedTuple):
    """Identity of a ledger, drawn when it was made; its numbers of commits that changed an account, and of erasures."""

    id: str
    commits: int
    erased: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of `Store.commit`.

    Attributes:
        committed: Whether all accounts were changed; otherwise none was.
        accounts: Of a commit, version and totals of the accounts whose change set has no version; of a conflict, all
            accounts as they are, of whose used tokens only those of the change sets.
        ledger: Mark of the ledger afterwards, by which lost data are recognised; None where it has none.
    """

    committed: bool
    accounts: Mapping[AccountName, Snapshot]
    ledger: LedgerMark | None = None


class Transaction(Account):
    """Account within a transaction; `changes` are what a store commits.

    Attributes:
        name: Its name in a store.
        snapshot: The account before it.
        looked: Whether it was read, so that a commit depends on the snapshot.
        shared: Account that all clients have in common, within the transaction.
        group: Account of the client's group, within the transaction; this one where there is none.
    """

    shared: "Transaction"
    group: "Transaction"

    def __init__(
        self,
        name: AccountName,
        snapshot: Snapshot,
        *,
        shared: "Transaction | None" = None,
        group: "Transaction | None" = None,
    ) -> None:
        super().__init__(name.name, shared, group)
        self.name, self.snapshot = name, snapshot
        self._totals = defaultdict(float, snapshot.totals)
        self._fresh, self._dropped, self._added = dict[str, float](), set[str](), list[Increment]()
        self._now, self.looked, self._peeked = 0.0, False, False

    def total(self, name: str) -> float:
        self.looked = True
        return super().total(name)

    def peek(self, name: str) -> float:
        self._look()
        return super().peek(name)

    def peek_all(self, names: Sequence[str]) -> np.ndarray:
        self._look()
        return super().peek_all(names)

    def _look(self) -> None:
        self._peeked = True
        self.looked |= time.monotonic() - self.snapshot.at > FRESH

    def add(
        self,
        name: str,
        amount: float,
        *,
        floor: float = -math.inf,
        limit: float = math.inf,
        ceiling: float = math.inf,
    ) -> bool:
        done = super().add(name, amount, floor=floor, limit=limit, ceiling=ceiling)
        if not self.looked:  # afterwards totals are replaced, and no addition is repeated
            self._added.append(Increment(name, amount, floor, limit, done, ceiling))
        return done

    def add_each(self, amounts: Mapping[str, float], *, floor: float = -math.inf) -> None:
        super().add_each(amounts, floor=floor)
        self._added += [Increment(name, amount, floor, math.inf, True) for name, amount in amounts.items()]

    def add_all(self, amounts: Mapping[str, float]) -> dict[str, float]:
        self.looked = True
        return super().add_all(amounts)

    def change(self, names: Sequence[str], array: str, to: Change) -> np.ndarray:
        self.rows(array)
        return super().change(names, array, to)

    def _put(self, name: str, rows: Rows) -> None:
        self._dropped.add(name)
        super()._put(name, rows)

    def take(self, names: Sequence[str]) -> np.ndarray:
        self.looked = True
        return super().take(names)

    def once(self, token: str, *, expires: float, now: float) -> bool:
        self.looked, self._now = True, max(self._now, now)
        if max(self.snapshot.used.get(token, now), self._fresh.get(token, now)) > now:
            return False
        self._fresh[token] = expires
        return True

    def rows(self, name: str) -> Rows:
        self.looked = True
        if name not in self._rows:
            self._rows[name] = Rows(self.snapshot.rows.get(name))
        return self._rows[name]

    def drop(self, prefix: str) -> None:
        self.looked = True
        for name in [name for name in {*self.snapshot.rows, *self._rows} if name.startswith(prefix)]:
            self._dropped.add(name)
            self._rows[name] = Rows()

    @property
    def touched(self) -> dict[AccountName, "Transaction"]:
        """Accounts that a commit changes or depends on: the client's, and of the other two those that were used."""
        others = (other for other in (self.group, self.shared) if other.looked or other._peeked or other._added)
        return {account.name: account for account in (self, *others)}

    def changes(self, writer: str = "") -> ChangeSet:
        """Return the changes, for a store, by a commit of this name."""
        if not self.looked:
            return ChangeSet(None, added=self._added)
        before = self.snapshot
        return ChangeSet(
            before.version, self._totals, self._fresh, self._new_rows(), self._now, after=before.writer, writer=writer
        )

    def _new_rows(self) -> dict[str, tuple[bool, np.ndarray]]:
        changes = dict[str, tuple[bool, np.ndarray]]()
        for name, rows in self._rows.items():
            dropped = name in self._dropped
            before = 0 if dropped else len(self.snapshot.rows.get(name, ()))
            if dropped or len(rows) > before:
                changes[name] = dropped, rows.array[before:]
        return changes

    def rebased(self, other: Snapshot) -> Snapshot:
        """Return the account of a conflict, with the tokens that were known before.

        A conflict holds only the tokens of this transaction. Without the earlier ones the next attempt would use one of
        them, conflict, and so on.
        """
        return replace(other, used=self.snapshot.settled.used | other.used)

    def committed(self, writer: str) -> Snapshot:
        """Return the account, which was read, as it is once the store has made this commit."""
        used = self.snapshot.used | self._fresh
        if len(used) > TOKENS:
            used = dict(islice(used.items(), len(used) - TOKENS, None))
        rows = self.snapshot.rows
        if self._rows:
            rows = {**rows, **{name: changed.array for name, changed in self._rows.items()}}
        before = self.snapshot
        return Snapshot(before.version + 1, self._totals, rows, used, writer=writer, before=before)

    def settle(self, totals: Mapping[str, float]) -> None:
        """Replace all totals by those to which the store's additions have led."""
        self._totals = defaultdict(float, totals)


class Store(Protocol):
    """Storage of a ledger: the accounts of one model's clients and their groups, and one account that all share.

    An account has a version, which every change raises by 1, totals by name, rows by name, and used tokens until they
    expire. A store changes accounts by `commit` alone, with optimistic concurrency: a `ChangeSet` states the version
    that it was made for, and is committed whole or not at all.

    - All accounts of a commit change in one atomic step, or none does. Commits of all processes that use one URL are in
      one order; only a store with `shared` may be used by processes on several machines.
    - A change set whose `version` or `after` is not the account's, or of whose `tokens` one was used and has not
      expired at `now`, is a conflict: nothing changes, and the outcome holds all accounts of the commit. Versions alone
      do not tell a commit that failed from another's: a change set may build on one that is still under way.
    - Of a change set without a version (an account of which nothing was read) `added` is repeated in its order: each
      total, 0 where it is above `ceiling`, becomes max(total, floor) + amount where that is within `limit`. It is a
      conflict unless each addition is possible exactly where it was `done`. A commit returns the totals to which this
      leads, those by other replicas among them. So a replica that adds to an account, or peeks at it, knows all that
      was added before its last commit; and `Transaction.peek` reads anew what was returned more than a second ago.
    - Otherwise totals and writer are replaced, tokens are remembered until they expire, and rows are appended, after
      those before were dropped where the change set demands it.

    `MemoryStore` is the reference: tests/gateway/test_ledger_stores.py holds every other store to its answers. Every
    method raises `StoreLost` where the storage does not answer. A class is found by the scheme of a URL: Feint's own in
    `feint.gateway.stores.STORES`, others as entry points of the group `feint.stores`.
    """

    shared: ClassVar[bool]

    @classmethod
    def open(cls, url: str, model: str) -> "Store":
        """Return the ledger of a model at a URL. Raises `BadRecipe` for a URL that is not one of this store's."""
        ...

    def now(self) -> float:
        """Return the time by which rules decide, in seconds since the epoch: one clock for all who use the store."""
        ...

    async def commit(self, changes: Mapping[AccountName, ChangeSet]) -> Outcome:
        """Change accounts in one atomic step, unless one of them is otherwise than in its snapshot."""
        ...

    async def clients(self, most: int = 100, *, kind: Kind = "client") -> list[tuple[str, dict[str, float]]]:
        """Return the clients, or the groups, against whom there is most evidence, with their totals."""
        ...

    async def erase(self, name: AccountName) -> bool:
        """Delete an account, with its rows and tokens, in one atomic step; return whether there was one."""
        ...

    async def close(self) -> None:
        """Close files and connections."""
        ...


async def snapshot_of(store: Store, name: AccountName) -> Snapshot:
    """Return an account as it is, without its tokens, by a commit that changes nothing."""
    return (await store.commit({name: ChangeSet(NEVER, now=time.time())})).accounts[name]


def lost_data(
    known: LedgerMark | None,
    versions: Mapping[AccountName, int],
    changes: Mapping[AccountName, ChangeSet],
    outcome: Outcome,
) -> str:
    """Return what an outcome shows to be lost, "" for nothing.

    Args:
        known: Mark of the ledger before the commit was sent, None where it is not known.
        versions: Versions that the accounts had at least then.
        changes: The changes that were sent.
        outcome: The outcome.
    """
    mark = outcome.ledger
    if known is not None and mark is not None and mark.id != known.id:
        return "it is another one, or was emptied"
    changed = outcome.committed and any(change.version is not None or change.adds for change in changes.values())
    if known is not None and mark is not None and mark.commits - changed < known.commits:
        return f"it went back from commit {known.commits} to {mark.commits - changed}"
    behind = [
        name
        for name, account in outcome.accounts.items()
        if account.version - (outcome.committed and changes[name].adds) < versions[name]
    ]
    return f"{len(behind)} accounts went back, or are gone" if behind else ""


class LedgerSession:
    """Ledger of a gateway: opens transactions on the last known accounts, and commits them to a store.

    Its `now` is the store's. Once the store is seen to have lost data, because another ledger is in its place, its
    number of commits or the version of an account went back, every commit raises `StoreRolledBack` until `accept`.

    Args:
        store: Where the ledger is kept.
        most: The number of accounts that are remembered here, the most recent ones.
    """

    def __init__(self, store: Store, *, most: int = 20_000) -> None:
        self.store, self._most = store, most
        self._writer = map(f"{secrets.token_hex(6)}-{{:x}}".format, count())
        self.now: Callable[[], float] = getattr(store, "now", time.time)  # other packages' stores may lack it
        self._mark: LedgerMark | None = None
        self._lost = ""  # what was seen to be lost
        self._snapshots: OrderedDict[AccountName, Snapshot] = OrderedDict()

    def begin(self, client: str, group: str = "") -> Transaction:
        """Return a transaction on the accounts of `client` and of its `group`, if any, as they were last known here."""
        shared, linked = Transaction(SHARED, self._known(SHARED)), None
        if group:
            name = AccountName("group", group)
            linked = Transaction(name, self._known(name), shared=shared)
        name = AccountName("client", client)
        return Transaction(name, self._known(name), shared=shared, group=linked)

    async def commit(self, transaction: Transaction) -> bool:
        """Commit a transaction, or raise `StoreLost` if the store does not answer.

        What it makes of the accounts is what the next transaction begins with, before the store has answered: requests
        of one client do not wait for each other's round trip. Where one conflicts all that were built on it do.

        Returns:
            Whether the store took it. Otherwise nothing was changed, and the next transaction begins with the accounts
            as they are. Where an account that was read is known otherwise by now, the store is not asked.
        """
        if self._outdated(transaction):
            return False
        accounts, writer = transaction.touched, next(self._writer)
        changes = {name: account.changes(writer) for name, account in accounts.items()}
        ahead = {name: account.committed(writer) for name, account in accounts.items() if account.looked}
        for name, snapshot in ahead.items():
            self._remember(name, snapshot)
        try:
            outcome = await self._exchange(changes)
        except BaseException:  # nobody knows whether it was done
            for name, snapshot in ahead.items():
                self._replace(name, snapshot, snapshot.settled)
            raise
        for name, account in accounts.items():
            other = outcome.accounts.get(name)
            if other is None:
                self._settle(name, ahead[name])
            elif not outcome.committed:
                self._replace(name, ahead.get(name, account.snapshot), account.rebased(other))
            else:
                account.settle(other.totals)
                if (known := self._known(name)).before is None:
                    self._remember(name, known.added_to(other, changes[name]))
        return outcome.committed

    def _outdated(self, transaction: Transaction) -> bool:
        accounts = (transaction, transaction.group, transaction.shared)
        return any(
            account.looked and self._known(account.name, account.snapshot) is not account.snapshot
            for account in accounts
        )

    async def check(self) -> None:
        """Read an account of the ledger; raise `StoreLost`, or `StoreRolledBack` as `commit` does."""
        await self._exchange({SHARED: ChangeSet(NEVER, now=self.now())})

    async def announce(self, entries: Sequence[str], seconds: float) -> dict[str, float]:
        """Record in the account of the replicas what holds for a process now, or raise as `commit`.

        Args:
            entries: What holds.
            seconds: Time for which an entry is kept at least.

        Returns:
            Time at which a process last announced each entry, by the ledger's clock.
        """
        now = self.now()
        added = [Increment(entry, 0.0, now, math.inf, True, now + CLOCK_SLACK) for entry in entries]
        account = (await self._exchange({REPLICAS: ChangeSet(None, added=added)})).accounts[REPLICAS]
        kept = {entry: at for entry, at in account.totals.items() if at > now - seconds}
        if len(kept) < len(account.totals):  # where another process was faster, it or the next call clears them away
            await self._exchange({REPLICAS: ChangeSet(account.version, kept)})
        return kept

    @property
    def mark(self) -> LedgerMark | None:
        """Mark of the ledger after the last commit; None where it has none, or has lost data."""
        return None if self._lost else self._mark

    def accept(self, mark: LedgerMark | None = None) -> None:
        """Take the ledger as it is now, whatever was known of it: a start or a reload does.

        Args:
            mark: The least that it has to hold; None for nothing.
        """
        self._snapshots.clear()
        self._mark, self._lost = mark, ""

    async def _exchange(self, changes: Mapping[AccountName, ChangeSet]) -> Outcome:
        """Commit changes, and compare the ledger with what was known of it before they were sent."""
        mark, versions = self._mark, {name: self._known(name).settled.version for name in changes}
        if not self._lost:
            outcome = await self.store.commit(changes)
            if mark is not None and outcome.ledger is not None and mark.erased != outcome.ledger.erased:
                versions = dict.fromkeys(versions, 0)  # one of them may have been erased, which is no loss
                self._snapshots.clear()
            self._lost = self._lost or lost_data(mark, versions, changes, outcome)
            if not self._lost:
                self._mark = outcome.ledger
                return outcome
            log.error("the ledger has lost data: %s; %s", self._lost, ACCEPT)
        raise StoreRolledBack(f"a ledger that has lost data ({self._lost})", "all that was committed", ACCEPT)

    def _settle(self, name: AccountName, snapshot: Snapshot) -> None:
        """Mark an account as confirmed; it may have been given up meanwhile."""
        snapshot.before = None
        if self._known(name).version < snapshot.version:
            self._remember(name, snapshot)

    def _replace(self, name: AccountName, failed: Snapshot, other: Snapshot) -> None:
        """Know `other` in place of an account that was built on one that is void; a newer one is kept."""
        known = self._known(name)
        if known.builds_on(failed) or known.settled.version < other.version:
            self._remember(name, other)
        else:
            known.used.update(other.used)

    def _known(self, name: AccountName, default: Snapshot | None = None) -> Snapshot:
        return self._snapshots.get(name) or default or Snapshot(at=-math.inf)

    def _remember(self, name: AccountName, snapshot: Snapshot) -> None:
        self._snapshots[name] = snapshot
        self._snapshots.move_to_end(name)
        if len(self._snapshots) > self._most:
            self._snapshots.popitem(last=False)
