"""Evidence over many accounts: the running part of `Campaign`, without torch.

All of its state over clients is totals of the shared account that are only added to, so that replicas never conflict.
"""

import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from feint.defenses.access.e_process import NOW, mixed
from feint.defenses.access.martingale import Martingale, places
from feint.ledger import Account
from feint.pipeline import QueryLike

AGE, SURPRISE, LEVEL = "campaign/queries", "campaign/surprise", "campaign/level"  # of a client or a group
UNTIL, ALARMS, ACCOUNTS = "campaign/until", "campaign/alarms", "campaign/accounts"  # of the shared account
STEP, LEVELS = 0.25, 60  # nats between levels of e-values: up to 2.5 million times 1 / fdr


@dataclass(frozen=True, eq=False)
class Cohort:
    """Pooled test of newcomers, probation during an alarm, and e-BH over all accounts.

    Attributes:
        martingale: Bets on the scores of newcomers, at their prices.
        key: The owner's secret, which chooses the query of a newcomer that is bet on.
        newcomers: Number of a client's first queries.
        run_length: Least mean number of honest newcomers until a false alarm.
        hours: Time after which an alarm ends that nothing renews.
        probation: Share of honest newcomers' queries that get the answer of `rung` during an alarm.
        fdr: Largest expected share of honest clients among those named.
        rung: Rung of such queries, and of named clients.
    """

    martingale: Martingale
    key: str
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
        age = int(max(unit.total(AGE), account.queries))
        suspicious = np.zeros(len(scores), bool)
        if new := min(len(scores), max(0, self.newcomers - age)):
            ranks = places(self.martingale.inputs, scores[:new])
            self._bet(ranks, age, query, unit)
            improbable = self._improbable(ranks, age, unit)
            if alarm(account.shared, query.time):
                suspicious[:new] = improbable
        if self._named(unit):
            suspicious[:] = True
        return np.where(suspicious, max(rung, self.rung), rung)

    def _bet(self, ranks: np.ndarray, age: int, query: QueryLike, account: Account) -> None:
        """Bet on the newcomer's one query, if it is among these, and raise the alarm where the evidence is enough."""
        chosen = self.turn(account.client) - age
        if not 0 <= chosen < len(ranks):
            return
        shared = account.shared
        names = [f"campaign/{i}" for i in range(len(self.martingale.weights))]
        shared.add_each(dict(zip(names, self.martingale.won[ranks[chosen]].tolist(), strict=True)), floor=0.0)
        sums = np.array([shared.peek(name) for name in names])
        if mixed(sums, self.martingale.weights) >= math.log(self.run_length):
            shared.add_each(dict(zip(names, (-sums.clip(0)).tolist(), strict=True)))
            shared.add(UNTIL, 0.0, floor=query.time + 3600 * self.hours)
            shared.add(ALARMS, 1.0)

    def alarmed(self, query: QueryLike, account: Account) -> bool | None:
        """Return whether there is an alarm, None for a client who is no newcomer, and whom it does not concern."""
        return alarm(account.shared, query.time) if account.queries < self.newcomers else None

    def turn(self, client: str) -> int:
        """Return which of a newcomer's queries is bet on, from 0."""
        digest = hmac.digest(self.key.encode(), client.encode(), "sha256")
        return int.from_bytes(digest[:8]) % self.newcomers

    def _improbable(self, ranks: np.ndarray, age: int, account: Account) -> np.ndarray:
        """Return with which queries the newcomer's have become improbable, by Fisher's combination of p-values."""
        p = (ranks + 1) / (len(self.martingale.inputs) + 1)
        before = account.total(SURPRISE)
        surprise = before - np.log(p).cumsum()
        account.add(SURPRISE, surprise[-1].item() - before)
        account.add(AGE, len(ranks), floor=age)
        queries = np.arange(age + 1, age + 1 + len(ranks))
        return np.array([fisher(s, n) for s, n in zip(surprise.tolist(), queries.tolist(), strict=True)]) < self.probation

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


def alarm(shared: Account, time: float) -> bool:
    """Return whether newcomers are on probation at this time."""
    return shared.peek(UNTIL) > time


def rejected(shared: Account) -> float:
    """Return the least level that e-BH rejects, by the numbers of accounts at each level; infinite for none.

    An e-value counts as the lower end of its level, e^(STEP · (level − 1)) / fdr, so that rounding accuses nobody.
    """
    counts = np.array([shared.peek(f"campaign/e/{at}") for at in range(1, LEVELS + 1)])
    above = counts[::-1].cumsum()[::-1]
    rejects = np.exp(STEP * np.arange(LEVELS)) * above >= max(1.0, shared.peek(ACCOUNTS))
    return 1.0 + rejects.argmax().item() if rejects.any() else math.inf


def fisher(surprise: float, n: int) -> float:
    """Return the probability that −Σ ln p of n independent p-values is `surprise` or more (Fisher, 1925)."""
    term = total = 1.0
    for i in range(1, n):
        term *= surprise / i
        total += term
    return math.exp(-surprise) * total
