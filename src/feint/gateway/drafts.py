"""Drafts: an account as it was last known here, on which a request's rules are tried before a store agrees.

A store commits a draft in one atomic step if the account is still as it was; otherwise it changes nothing and says how
it is. What all clients share changes far more often, so that additions to it are repeated by the store instead, and
only have to come out alike.
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
class Known:
    """An account as a store last said it is: its version, totals and rows, and some of its used tokens (when each
    expires)."""

    version: int = 0
    totals: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, np.ndarray] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Added:
    """One addition to a shared total, and whether it was possible."""

    name: str
    amount: float
    floor: float
    limit: float
    done: bool


@dataclass(frozen=True, slots=True)
class Part:
    """What a draft makes of one account that had `version`: `totals` as they are then, `tokens` that must be new (each
    with when it expires; `now` is the query's time), and `rows` to append, after forgetting those before where True.

    Of the shared account `version` is None where nothing was looked at: then `added` alone is repeated.
    """

    version: int | None
    totals: Mapping[str, float]
    tokens: Mapping[str, float]
    rows: Mapping[str, tuple[bool, np.ndarray]]
    now: float
    added: Sequence[Added] = ()


@dataclass(frozen=True, slots=True)
class Other:
    """What a store says when it was otherwise: both accounts, with those of the draft's tokens that were used."""

    own: Known
    shared: Known


class Draft(Account):
    """An account that can be tried on: what becomes of it is a `Part` for the store."""

    def __init__(self, client: str, known: Known, shared: "Draft | None" = None) -> None:
        super().__init__(client, shared)
        self._totals = defaultdict(float, known.totals)
        self._known, self._fresh, self._dropped = known, dict[str, float](), set[str]()
        self._now = 0.0

    def once(self, token: str, *, expires: float, now: float) -> bool:
        self._now = max(self._now, now)
        if max(self._known.used.get(token, now), self._fresh.get(token, now)) > now:
            return False
        self._fresh[token] = expires
        return True

    def rows(self, name: str) -> Rows:
        if name not in self._rows:
            self._rows[name] = Rows(self._known.rows.get(name))
        return self._rows[name]

    def drop(self, prefix: str) -> None:
        for name in [it for it in {*self._known.rows, *self._rows} if it.startswith(prefix)]:
            self._dropped.add(name)
            self._rows[name] = Rows()

    def part(self) -> Part:
        """The changes, for a store."""
        return Part(self._known.version, self._totals, self._fresh, self._new_rows(), self._now)

    def _new_rows(self) -> dict[str, tuple[bool, np.ndarray]]:
        found = dict[str, tuple[bool, np.ndarray]]()
        for name, rows in self._rows.items():
            dropped = name in self._dropped
            before = 0 if dropped else len(self._known.rows.get(name, ()))
            if dropped or len(rows) > before:
                found[name] = dropped, rows.array[before:]
        return found

    def learned(self, other: Known) -> Known:
        """The account as the store says it is. It says no more tokens than this draft used: without those that were
        known before, the next draft would use them, and so on in turns."""
        return replace(other, used=self._known.used | other.used)

    def known(self) -> Known:
        """The account once the store has agreed."""
        used = self._known.used
        used |= self._fresh
        if len(used) > TOKENS:
            used = dict(islice(used.items(), len(used) - TOKENS, None))
        rows = (
            self._known.rows if not self._rows else {**self._known.rows, **{k: v.array for k, v in self._rows.items()}}
        )
        return Known(self._known.version + 1, self._totals, rows, used)


class SharedDraft(Draft):
    """The account that all have in common: additions are kept one by one, and whether anything was looked at."""

    def __init__(self, known: Known) -> None:
        super().__init__("", known)
        self.added: list[Added] = []
        self.looked = False

    def total(self, name: str) -> float:
        self.looked = True
        return super().total(name)

    def add(self, name: str, amount: float, *, floor: float = -np.inf, limit: float = np.inf) -> bool:
        done = super().add(name, amount, floor=floor, limit=limit)
        self.added.append(Added(name, amount, floor, limit, done))
        return done

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
        """Whether anything was looked at or added."""
        return self.looked or bool(self.added)

    def part(self) -> Part:
        if not self.looked:
            return Part(None, {}, {}, {}, self._now, self.added)
        return super().part()

    def known(self) -> Known:
        return super().known() if self.looked else Known(self._known.version, self._totals, self._known.rows)


class Store(Protocol):
    """Storage of a ledger: the accounts of one model's clients, and one account that all of them share.

    An account has a version, which every change raises by 1, totals by name, rows by name, and used tokens until they
    expire. A store changes accounts by `commit` alone, with optimistic concurrency: a `Part` states the version that it
    was made for, and is committed whole or not at all.

    - Both accounts change in one atomic step, or neither does. Commits of all processes that use one URL are in one
      order; only a store with `shared` may be used by processes on several machines.
    - A part whose `version` is not the account's, or of whose `tokens` one was used and has not expired at `now`, is a
      conflict: nothing changes, and both accounts come back as `Other`, with those of the part's tokens that are used.
    - Of a part without a version (the shared account, where nothing was read of it) `added` is repeated in its order:
      each total becomes max(total, floor) + amount where that is within `limit`. It is a conflict unless each addition
      is possible exactly where its `done` says.
    - Otherwise totals are replaced, tokens are remembered until they expire, and rows are appended, after those before
      were dropped where the part says so.

    `MemoryStore` is the reference: tests/test_ledger_stores.py holds every other store to its answers. Every method
    raises `StoreLost` where the storage does not answer. A class is found by the scheme of a URL: Feint's own in
    `feint.gateway.stores.STORES`, others as entry points of the group `feint.stores`.
    """

    shared: ClassVar[bool]

    @classmethod
    def open(cls, url: str, model: str) -> "Store":
        """Return the ledger of a model at a URL. Raises `BadRecipe` for a URL that is not one of this store's."""
        ...

    async def commit(self, client: str, own: Part, shared: Part | None) -> Other | None:
        """Change both accounts in one atomic step: None where that was done. `Other` where anything was otherwise than
        in the draft, and nothing was changed."""
        ...

    async def clients(self, most: int = 100) -> list[tuple[str, dict[str, float]]]:
        """The clients against whom there is most evidence, with their totals."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


class Drafts:
    """The ledger of a gateway: drafts out, decisions in. Of the last `most` clients it knows what the store said."""

    def __init__(self, store: Store, *, most: int = 20_000) -> None:
        self.store, self._most = store, most
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._shared = Known()

    def draft(self, client: str) -> Draft:
        """The account of `client` as it was last known here."""
        return Draft(client, self._known.get(client) or Known(), SharedDraft(self._shared))

    async def commit(self, draft: Draft) -> bool:
        """Whether the store agreed, and the draft is the account now. Otherwise nothing was changed, and the next draft
        knows how it is. Raises `StoreLost`."""
        shared = draft.shared
        assert isinstance(shared, SharedDraft)  # `draft` made it
        other = await self.store.commit(draft.client, draft.part(), shared.part() if shared.touched else None)
        self._remember(draft.client, draft.known() if other is None else draft.learned(other.own))
        if shared.touched or other is not None:
            self._shared = shared.known() if other is None else shared.learned(other.shared)
        return other is None

    def _remember(self, client: str, known: Known) -> None:
        self._known[client] = known
        self._known.move_to_end(client)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
