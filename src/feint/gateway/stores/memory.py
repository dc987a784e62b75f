"""A ledger in this process: gone when it ends."""

from collections import defaultdict
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from feint.gateway.drafts import Known, Other, Part


class MemoryStore:
    """For trials and tests, and the meaning of every other store."""

    shared: ClassVar[bool] = False

    @classmethod
    def open(cls, url: str, model: str) -> Self:
        """As `Store.open`; the URL holds nothing but the scheme."""
        return cls()

    def __init__(self) -> None:
        self._own: dict[str, Known] = defaultdict(Known)
        self._shared = Known()
        self._full = 1000

    async def commit(self, client: str, own: Part, shared: Part | None) -> Other | None:
        account = self._own[client]
        if not (_agrees(account, own) and (shared is None or _agrees(self._shared, shared))):
            return Other(_told(account, own), _told(self._shared, shared))
        self._own[client] = _changed(account, own)
        if shared is not None:
            self._shared = _changed(self._shared, shared)
        return None

    async def clients(self, most: int = 100) -> list[tuple[str, dict[str, float]]]:
        ordered = sorted(self._own.items(), key=lambda it: -it[1].totals.get("evidence", 0.0))
        return [(client, dict(known.totals)) for client, known in ordered[:most]]

    async def close(self) -> None:
        pass


def _agrees(account: Known, part: Part) -> bool:
    """Whether the account is as the draft took it to be."""
    if part.version is None:
        return repeated(account.totals, part) is not None
    return account.version == part.version and not any(account.used.get(it, 0.0) > part.now for it in part.tokens)


def repeated(totals: Mapping[str, float], part: Part) -> dict[str, float] | None:
    """The shared totals that change when the additions are repeated; None where one comes out otherwise."""
    changed: dict[str, float] = {}
    for it in part.added:
        raised = max(changed.get(it.name, totals.get(it.name, 0.0)), it.floor) + it.amount
        if (raised <= it.limit) != it.done:
            return None
        if it.done:
            changed[it.name] = raised
    return changed


def _changed(account: Known, part: Part) -> Known:
    if part.version is None:
        totals = {**account.totals, **(repeated(account.totals, part) or {})}
        return Known(account.version + 1, totals, account.rows, account.used)
    rows = dict(account.rows)
    for name, (dropped, new) in part.rows.items():
        before = () if dropped else rows.get(name, ())
        rows[name] = np.concatenate([before, new]) if len(before) else new  # no rows have no length
    account.used.update(part.tokens)
    used = _unexpired(account.used, part.now)
    return Known(account.version + 1, dict(part.totals), rows, used)


def _unexpired(used: dict[str, float], now: float) -> dict[str, float]:
    """`used` without what is void at `now`, looked through each time that it has doubled."""
    if len(used) < 1024 or len(used) & (len(used) - 1):
        return used
    return {token: until for token, until in used.items() if until > now}


def _told(account: Known, part: Part | None) -> Known:
    tokens = () if part is None else part.tokens
    used = {it: account.used[it] for it in tokens if it in account.used}
    return Known(account.version, account.totals, account.rows, used)
