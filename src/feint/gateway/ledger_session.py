"""Ledger of one model in a gateway: what is known of its accounts, and the commits to its store."""

import logging
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from feint.gateway.changes import (
    NEVER,
    REPLICAS,
    SHARED,
    AccountName,
    ChangeSet,
    Increment,
    LedgerMark,
    Outcome,
    Snapshot,
)
from feint.gateway.stores.base import ACCEPT, CommitsEach, Rereads, Store, commits_each, rolled_back
from feint.gateway.transaction import Transaction
from feint.ledger import CLOCK_SLACK

CONTESTED = 1.0  # seconds since a conflict for which accounts are read again before a commit

log = logging.getLogger("feint.gateway")


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
    if known is not None and mark is not None and mark.commits <= known.commits:
        changed = outcome.committed and any(change.version is not None or change.adds for change in changes.values())
        if mark.commits - changed < known.commits:
            return f"it went back from commit {known.commits} to {mark.commits - changed}"
    behind = [
        name
        for name, account in outcome.accounts.items()
        if account.version - (outcome.committed and changes[name].adds) < versions[name]
    ]
    return f"{len(behind)} accounts went back, or are gone" if behind else ""


class Staged(NamedTuple):
    """Changes of a transaction that are sent to a store next.

    Attributes:
        accounts: Accounts of the transaction that a commit changes or depends on.
        changes: What it changes of each.
        ahead: Those that were read, as they will be.
    """

    accounts: Mapping[AccountName, Transaction]
    changes: Mapping[AccountName, ChangeSet]
    ahead: Mapping[AccountName, Snapshot]


class LedgerSession:
    """Ledger of a gateway: opens transactions on the last known accounts, and commits them to a store.

    Its `now` is the store's. Once the store is seen to have lost data, because another ledger is in its place, its
    number of commits or the version of an account went back, every commit raises `StoreRolledBack` until `accept`.

    Args:
        store: Where the ledger is kept.
        most: The number of accounts that are remembered here, the most recent ones.
    """

    def __init__(self, store: Store, *, most: int = 20_000) -> None:
        self.store, self._most, self._commit_soon = store, most, commits_each(store)
        self._commit_each = store.commit_each if isinstance(store, CommitsEach) else self._commit_soon
        self._changed = store.changed if isinstance(store, Rereads) else None
        self._contested = -math.inf  # until when accounts are read again
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

        Returns:
            Whether the store took it. Otherwise nothing was changed, and the next transaction begins with the accounts
            as they are. If an account is known to have changed since it was read, the store is not asked.
        """
        staged = self.stage(transaction)
        if staged is None:
            return False
        (result,) = await self.send([staged])
        if isinstance(result, Exception):
            raise result
        return result

    def refresh(self, transactions: Sequence[Transaction]) -> None:
        """Read accounts again that other processes change, too; transactions on those that they did are `outdated`.

        A conflict sends a whole request on its way again. So for a while after one the accounts are read shortly before
        the next commits. With two processes, and each client at both, 3 % of the requests conflict, and 48 % without.
        """
        if self._changed is None or time.monotonic() > self._contested:
            return
        accounts = [account for one in transactions for account in (one, one.group, one.shared)]
        known = {account.name: self._known(account.name) for account in accounts if account.name != SHARED}
        settled = {name: snapshot for name, snapshot in known.items() if snapshot.before is None}
        changed = self._changed(settled)
        for name, other in changed.items():
            self._remember(name, replace(other, used=settled[name].used))
        for account in accounts:
            account.looked |= account.name in changed

    def outdated(self, transaction: Transaction) -> bool:
        """Return whether an account is known to have changed since a transaction read it."""
        known = self._snapshots.get
        for account in (transaction, transaction.group, transaction.shared):
            if account.looked and known(account.name, account.snapshot) is not account.snapshot:
                return True
        return False

    def stage(self, transaction: Transaction) -> Staged | None:
        """Return the changes of a transaction for `send`, None where it is outdated.

        What it makes of the accounts is what the next transaction begins with, before the store has answered: requests
        of one client do not wait for each other's round trip. Where one conflicts all that were built on it do. So the
        changes are sent in the order in which they were staged, and without delay.
        """
        if self.outdated(transaction):
            return None
        accounts, writer = transaction.touched, next(self._writer)
        changes = {name: account.changes(writer) for name, account in accounts.items()}
        ahead = {name: account.committed(writer) for name, account in accounts.items() if account.looked}
        for name, snapshot in ahead.items():
            self._remember(name, snapshot)
        return Staged(accounts, changes, ahead)

    async def send(self, staged: Sequence[Staged], *, complete: bool = False) -> list[bool | Exception]:
        """Send changes to the store, together.

        Args:
            staged: The changes, in the order in which they were staged.
            complete: Whether these are all that come in this turn of the loop; otherwise a store may wait for others.

        Returns:
            Of each whether the store took it, or `StoreLost`.
        """
        try:
            outcomes = await self._exchange([one.changes for one in staged], complete=complete)
        except BaseException:
            for one in staged:
                self._give_up(one)
            raise
        return [self._settled(one, outcome) for one, outcome in zip(staged, outcomes, strict=True)]

    def _give_up(self, staged: Staged) -> None:
        """Know the accounts as they were before changes of which nobody knows whether they were made."""
        for name, snapshot in staged.ahead.items():
            self._replace(name, snapshot, snapshot.settled)

    def _settled(self, staged: Staged, outcome: Outcome | Exception) -> bool | Exception:
        """Know the accounts as they are after changes were sent."""
        if isinstance(outcome, Exception):
            self._give_up(staged)
            return outcome
        for name, account in staged.accounts.items():
            other = outcome.accounts.get(name)
            if other is None:
                self._settle(name, staged.ahead[name])
            elif not outcome.committed:
                self._contested = time.monotonic() + CONTESTED
                self._replace(name, staged.ahead.get(name, account.snapshot), account.rebased(other))
            else:
                account.settle(other.totals)
                if (known := self._known(name)).before is None:
                    self._remember(name, known.added_to(other, staged.changes[name]))
        return outcome.committed

    async def check(self) -> None:
        """Read an account of the ledger; raise `StoreLost`, or `StoreRolledBack` as `commit` does."""
        await self._only({SHARED: ChangeSet(NEVER, now=self.now())})

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
        account = (await self._only({REPLICAS: ChangeSet(None, added=added)})).accounts[REPLICAS]
        recent = {entry: at for entry, at in account.totals.items() if now - seconds < at <= now + CLOCK_SLACK}
        if len(recent) < len(account.totals):  # where another process was faster, it or the next call clears them away
            await self._only({REPLICAS: ChangeSet(account.version, recent)})
        return recent

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

    async def _exchange(
        self, many: Sequence[Mapping[AccountName, ChangeSet]], *, complete: bool = False
    ) -> list[Outcome | Exception]:
        """Commit changes, and compare the ledger with what was known of it before they were sent.

        `StoreRolledBack` is raised where the ledger has lost data.

        Returns:
            The outcome of each, or its error.
        """
        mark, lost = self._mark, ""
        known = [{name: self._known(name).settled.version for name in changes} for changes in many]
        if not self._lost:
            outcomes = await (self._commit_each if complete else self._commit_soon)(many)
            for changes, versions, outcome in zip(many, known, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    continue
                if mark is not None and outcome.ledger is not None and mark.erased != outcome.ledger.erased:
                    versions = dict.fromkeys(versions, 0)  # one of them may have been erased, which is no loss
                    self._snapshots.clear()
                lost = lost or lost_data(mark, versions, changes, outcome)
            self._lost = self._lost or lost
            if not self._lost:
                self._mark = next((o.ledger for o in reversed(outcomes) if isinstance(o, Outcome)), self._mark)
                return outcomes
            log.error("the ledger has lost data: %s; %s", self._lost, ACCEPT)
        error = rolled_back(self._lost)
        raise error

    async def _only(self, changes: Mapping[AccountName, ChangeSet]) -> Outcome:
        """Commit changes alone, and raise its error."""
        (outcome,) = await self._exchange([changes])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

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
