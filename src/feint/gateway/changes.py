"""Accounts and changes of accounts, as a gateway and a ledger's store exchange them."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["client", "group", "shared"]


class AccountName(NamedTuple):
    """Name of an account in a store. Accounts of two kinds share nothing, whatever their names."""

    kind: Kind
    name: str = ""


SHARED = AccountName("shared")
REPLICAS = AccountName("shared", "replicas")
NEVER = -1  # a version that no account has


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
        now: The time of the query, or later by the account's `token_time`.
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
