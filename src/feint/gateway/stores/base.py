"""Protocol of a ledger's store."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from feint.errors import StoreRolledBack
from feint.gateway.changes import NEVER, AccountName, ChangeSet, Kind, Outcome, Snapshot

ACCEPT = "restore it, or take it as it is: feint ledger accept SETTINGS, and reload or restart the gateway"


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
    - Otherwise totals and writer are replaced, and rows are appended, after those before were dropped where the change
      set demands it. Tokens are remembered until they have expired at the `now` of a change set to the same account
      that holds tokens: by another clock, or another account's, one would be forgotten that is good again later.

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
        """Change accounts in one atomic step, unless one of them differs from its snapshot."""
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


@runtime_checkable
class CommitsEach(Protocol):
    """Store that makes several commits together, which costs little more than one."""

    async def commit_each(self, many: Sequence[Mapping[AccountName, ChangeSet]]) -> list[Outcome | Exception]:
        """Commit in this order, each as `Store.commit`, and return of each its outcome or its error."""
        ...


class LedgerReader(Protocol):
    """Accounts of a model's ledger, which are only read. Methods raise as those of a `Store`, or `DamagedFile`."""

    async def account(self, name: AccountName) -> Snapshot:
        """Return an account as it is, without its tokens."""
        ...

    async def clients(self, most: int = 100, *, kind: Kind = "client") -> list[tuple[str, dict[str, float]]]:
        """Return clients or groups, as `Store.clients`."""
        ...

    async def close(self) -> None:
        """Close, as `Store.close`."""
        ...


@runtime_checkable
class HasReader(Protocol):
    """Class of a store that can be read where it cannot be written: a copy, or a replica."""

    def open_reader(self, url: str, model: str) -> LedgerReader:
        """Return a reader of the ledger of a model at a URL, as `Store.open`."""
        ...


@dataclass(frozen=True)
class StoreReader:
    """Reader of any `store`, which may write to it."""

    store: Store

    async def account(self, name: AccountName) -> Snapshot:
        """Return an account, as `LedgerReader.account`."""
        return await snapshot_of(self.store, name)

    async def clients(self, most: int = 100, *, kind: Kind = "client") -> list[tuple[str, dict[str, float]]]:
        """Return clients or groups, as `Store.clients`."""
        return await self.store.clients(most, kind=kind)

    async def close(self) -> None:
        """Close, as `Store.close`."""
        await self.store.close()


@runtime_checkable
class Rereads(Protocol):
    """Store of several processes that reads accounts without waiting, for much less than a conflict costs."""

    def changed(self, known: Mapping[AccountName, Snapshot]) -> Mapping[AccountName, Snapshot]:
        """Return those of `known` accounts that another process has changed since, without their tokens.

        Nothing is returned where they cannot be read now.
        """
        ...


CommitEach = Callable[[Sequence[Mapping[AccountName, ChangeSet]]], Awaitable[list[Outcome | Exception]]]


def commits_each(store: Store) -> CommitEach:
    """Return what commits to a store in this order, each for itself, and returns of each its outcome or its error.

    A single commit is made as `Store.commit`, which may wait for others that come in the same turn of the loop.
    """
    together = store.commit_each if isinstance(store, CommitsEach) else None

    async def commit_each(many: Sequence[Mapping[AccountName, ChangeSet]]) -> list[Outcome | Exception]:
        if len(many) == 1:
            return [await answered(store.commit(many[0]))]
        if together is not None:
            return await together(many)
        return [*await asyncio.gather(*(answered(store.commit(changes)) for changes in many))]

    return commit_each


async def answered(commit: Awaitable[Outcome]) -> Outcome | Exception:
    """Return the outcome of a commit, or its error."""
    try:
        return await commit
    except Exception as error:
        return error


def rolled_back(lost: str) -> StoreRolledBack:
    """Return the error of a ledger that has lost data."""
    return StoreRolledBack(f"a ledger that has lost data ({lost})", "all that was committed", ACCEPT)


async def snapshot_of(store: Store, name: AccountName) -> Snapshot:
    """Return an account as it is, without its tokens, by a commit that changes nothing."""
    return (await store.commit({name: ChangeSet(NEVER, now=time.time())})).accounts[name]
