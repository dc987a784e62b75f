"""Evidence over many accounts: the running part of `Campaign`, without torch.

All of its state over clients is totals of the shared account that are only added to, so that replicas never conflict.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any, Self

import numpy as np

from feint.defenses.access.e_process import NOW, mixed
from feint.defenses.access.martingale import Martingale, places
from feint.defenses.access.near_copies import NO_CODES, first_of_their_kind
from feint.ledger import CLOCK_SLACK, Account
from feint.pipeline import QueryLike

FIRST, LEVEL = "campaign/first", "campaign/level"  # rows and total of a client or a group
FORMER = "campaign/ranks"  # rows of newcomers until 0.2, who count as known
UNTIL, ALARMS, ACCOUNTS = "campaign/until", "campaign/alarms", "campaign/accounts"  # of the shared account
STEP, LEVELS = 0.25, 60  # nats between levels of e-values: up to 2.5 million times 1 / fdr


@dataclass(frozen=True, eq=False)
class Cohort:
    """Pooled test of newcomers, probation during an alarm, and e-BH over all accounts.

    Attributes:
        martingale: Bets on the scores of newcomers, at their prices.
        newcomers: Number of a client's first queries.
        run_length: Least mean number of honest newcomers until a false alarm.
        hours: Time after which an alarm ends that nothing renews.
        probation: Level of the p-values below which a newcomer's queries get the answer of `rung` during an alarm.
        fdr: Largest expected share of honest clients among those named.
        rung: Rung of such queries, and of named clients.
    """

    martingale: Martingale
    newcomers: int
    run_length: float
    hours: float
    probation: float
    fdr: float
    rung: int

    @classmethod
    def of(cls, settings: Mapping[str, Any], martingale: Martingale) -> Self:
        """Return the running part of a campaign with these settings: its fields, or its table."""
        names = [field.name for field in fields(cls) if field.name != "martingale"]
        return cls(martingale, **{name: settings[name] for name in names})

    def assign(self, scores: np.ndarray, query: QueryLike, account: Account, rung: int) -> np.ndarray:
        """Return the rung of each input of a query, and update the evidence over all accounts.

        Args:
            scores: Scores of the inputs, (N,).
            query: The query.
            account: The client's account, after its detectors have read the query.
            rung: The client's own rung.

        Returns:
            Rungs, (N,) int.
        """
        unit = account.group  # linked clients are one
        before, rungs, harsh = len(unit.rows(FIRST)), np.full(len(scores), rung), max(rung, self.rung)
        new = min(len(scores), max(0, self.newcomers - max(before, account.queries)))
        if new and (before or not unit.rows(FORMER)):
            first, counts = self.record(scores[:new], query.near[:new], unit)
            for turn in self.turns:
                if before < turn <= len(first):
                    self._bet(first[:turn].astype(int), unit.shared, query.time)
            if self.alarm(unit.shared, query.time):
                for i, level in enumerate(self.levels(first, counts)):
                    if level < self.probation:
                        rungs[i] = harsh
        if self._named(unit):
            rungs[:] = harsh
        return rungs

    def record(self, scores: np.ndarray, near: np.ndarray, unit: Account) -> tuple[np.ndarray, list[int]]:
        """Store ranks and codes of a newcomer's queries, near copies excepted.

        Args:
            scores: Scores of the queries, (n,).
            near: Their perceptual codes, (n,) uint64.
            unit: The newcomer's account, or that of all who are linked to it.

        Returns:
            All ranks that are stored, float32, and how many of them there were after each of the queries: a near copy
            counts as what came before it.
        """
        stored = unit.rows(FIRST)
        before, rows = len(stored), stored.array
        recent = np.ascontiguousarray(rows[:, 1:]).view(np.uint64).ravel() if before else NO_CODES
        news, _ = first_of_their_kind(near, recent)
        fresh = np.empty((len(scores), 3), np.float32)
        fresh[:, 0], fresh[:, 1:] = places(self.martingale.inputs, scores), near[:, None].view(np.float32)
        stored.append(fresh[news], most=self.newcomers)
        return stored.array[:, 0], [*accumulate(news.tolist(), initial=before)][1:]

    def levels(self, ranks: np.ndarray, counts: Sequence[int]) -> list[float]:
        """Return the p-value of a newcomer's first `counts` queries, by Fisher's combination of theirs, for each."""
        each = self.martingale.surprises[ranks.astype(int)]
        surprises = [0.0, *accumulate(each.tolist())]  # of a few numbers: 1.1 µs where arrays take 3.3
        return [fisher(surprises[n], n) for n in counts]

    @functools.cached_property
    def turns(self) -> list[int]:
        """Numbers of queries after which a newcomer is bet on: 1, 2, 4, … up to `newcomers`."""
        return [1 << i for i in range(self.newcomers.bit_length())]

    @functools.cached_property
    def _payments(self) -> np.ndarray:
        """What each bet wins at each rank, (n + 1, bets): their mean takes 3 µs, and that of logarithms 9."""
        return np.exp(self.martingale.won)

    def _bet(self, ranks: np.ndarray, shared: Account, time: float) -> None:
        """Bet on a newcomer's first queries, and raise the alarm where the evidence at this turn is enough."""
        won = np.log(np.add.reduce(self._payments[ranks]) / len(ranks))
        names = _names(len(ranks), len(won))
        shared.add_each(dict(zip(names, won.tolist(), strict=True)), floor=0.0)
        sums, needed = shared.peek_all(names), math.log(self.run_length * len(self.turns))
        if sums.max() >= needed and mixed(sums, self.martingale.weights) >= needed:  # no mean is above the largest
            shared.add_each(dict(zip(names, (-sums.clip(0)).tolist(), strict=True)))
            shared.add(UNTIL, 0.0, floor=time + 3600 * self.hours, ceiling=self._latest(time))
            shared.add(ALARMS, 1.0)

    def alarmed(self, query: QueryLike, account: Account) -> bool | None:
        """Return whether there is an alarm, None for a client who is no newcomer, and whom it does not concern."""
        return self.alarm(account.shared, query.time) if account.queries < self.newcomers else None

    def alarm(self, shared: Account, time: float) -> bool:
        """Return whether newcomers are on probation at this time."""
        return time < shared.peek(UNTIL) <= self._latest(time)

    def _latest(self, time: float) -> float:
        """Return the latest end of an alarm that is right at this time; a later one is of a clock that was put back."""
        return time + 3600 * self.hours + CLOCK_SLACK

    def _named(self, account: Account) -> bool:
        """Count the client at the level of its e-value, and return whether e-BH rejects that it is honest."""
        shared, before = account.shared, int(account.total(LEVEL))
        excess = account.total(NOW) + math.log(self.fdr)
        level = min(LEVELS, 1 + int(excess / STEP)) if excess >= 0 else 0
        if not before:  # a stored level is one more, so that a client is counted once
            shared.add(ACCOUNTS, 1.0)
        if level != before - 1:
            shared.add_each({f"campaign/e/{at}": n for at, n in ((before - 1, -1.0), (level, 1.0)) if at > 0})
            account.add(LEVEL, level + 1 - before)
        return level > 0 and level >= rejected(shared)


def rejected(shared: Account) -> float:
    """Return the least level that e-BH rejects, by the numbers of accounts at each level; infinite for none.

    An e-value counts as the lower end of its level, e^(STEP · (level − 1)) / fdr, so that rounding accuses nobody.
    """
    counts = shared.peek_all([f"campaign/e/{at}" for at in range(1, LEVELS + 1)])
    above = counts[::-1].cumsum()[::-1]
    rejects = np.exp(STEP * np.arange(LEVELS)) * above >= max(1.0, shared.peek(ACCOUNTS))
    return 1.0 + rejects.argmax().item() if rejects.any() else math.inf


@functools.cache
def _names(turn: int, bets: int) -> list[str]:
    return [f"campaign/{turn}/{i}" for i in range(bets)]


def fisher(surprise: float, n: int) -> float:
    """Return the probability that −Σ ln p of n independent p-values is `surprise` or more (Fisher, 1925)."""
    term = total = 1.0
    for i in range(1, n):
        term *= surprise / i
        total += term
    return math.exp(-surprise) * total
