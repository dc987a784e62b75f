"""Optimistic transactions on the ledger: rules run on snapshots of accounts, and a store commits what they changed.

A store commits in one atomic step if every account still has the version of its snapshot. Otherwise it changes nothing
and returns the accounts as they are. An account that was only added to needs no version: the store repeats the
additions, which only have to come out alike, so that replicas and clients add to one account at once.
"""

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Self

import numpy as np

from feint.gateway.changes import AccountName, ChangeSet, Increment, Snapshot
from feint.ledger import NO_NUMBERS, NOTHING, Account, Change, Rows, raised_total

# Tokens that are remembered here for each client, 130 bytes each. The store remembers all: one that is forgotten here
# and comes again costs a conflict. With a thousand, memory grew by 15 MiB a minute under load, and would to 2 GB.
TOKENS = 32
FRESH = 1.0  # seconds for which totals may be peeked at


class Transaction(Account):
    """Account within a transaction; `changes` are what a store commits.

    Attributes:
        name: Its name in a store.
        snapshot: The account before it.
        looked: Whether it was read, so that a commit depends on the snapshot.
    """

    def __init__(
        self, name: AccountName, snapshot: Snapshot, *, shared: Self | None = None, group: Self | None = None
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
        raised = raised_total(self._totals[name], amount, floor, ceiling)  # no lock: a transaction is one task's
        done = not raised > limit  # also where it is no number, which a store refuses
        if done:
            self._totals[name] = raised
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

    def peek_at(self, names: Sequence[str], array: str) -> tuple[list[float], np.ndarray]:
        """Return totals, and an array, empty at first, on which a later `put` depends."""
        self.looked = True
        rows = self._rows[array].array if array in self._rows else self.snapshot.rows.get(array, NO_NUMBERS)
        return [self._totals.get(name, 0.0) for name in names], rows[0] if len(rows) else NO_NUMBERS

    def put(self, totals: Mapping[str, float], array: str, numbers: np.ndarray) -> None:
        """Replace totals, and an array by another one of any length."""
        self.looked = True
        self._totals.update(totals)
        self._dropped.add(array)
        self._rows[array] = Rows(numbers[None])

    def _replace(self, totals: Mapping[str, float], amounts: Mapping[str, float] = NOTHING) -> None:
        self._totals.update(totals)  # what fails is not committed: there is nothing to undo

    def _put(self, name: str, rows: Rows) -> None:
        self._dropped.add(name)
        super()._put(name, rows)

    def take(self, names: Sequence[str]) -> np.ndarray:
        self.looked = True
        return super().take(names)

    def once(self, token: str, *, expires: float, now: float) -> bool:
        self.looked = True
        now = self._now = self._raise_token_time(now)
        if expires <= now or max(self.snapshot.used.get(token, now), self._fresh.get(token, now)) > now:
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
