"""Query budget for each client."""

import math
from dataclasses import dataclass
from typing import ClassVar

from feint.errors import OverBudget, UnknownName, in_range
from feint.ledger import CLOCK_SLACK, Account
from feint.pipeline import QueryLike

PERIODS = {"hour": 3600, "day": 86_400}  # seconds
MOST = 1e15  # queries that a total counts exactly: below 2⁵³
WINDOW = 2.0**32  # queries that a period has room for in a total; the hours since 1970 times it are exact in a double


@dataclass(frozen=True)
class Budget:
    """Fixed number of queries for each client (Tramèr et al., USENIX Security 2016, §7).

    It is the cheapest defense, and blind to an attacker with many client names. A charge stands
    where a later rule refuses, and not where this side fails.

    A budget for life bounds what an account gets in all. A budget per period does not: in a year an account asks 365
    times a day's budget. Periods are those of the clock in UTC, and the time is the query's. One number is stored for
    each period, charged in one atomic step of the ledger: the number of the period times 2³², plus its queries. What
    was charged to a later period, before a clock was put back, is forgotten.

    Attributes:
        queries: Queries that each client may send, 0 to 1e15.
        per: Period in which the client may send them, "hour" or "day"; None for the life of the account.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    servable: ClassVar[bool] = True
    queries: int
    per: str | None = None

    def __post_init__(self) -> None:
        in_range(self, "queries", f"0 or more queries, at most {MOST:g}", 0, MOST if self.per is None else WINDOW - 1)
        if self.per is not None and self.per not in PERIODS:
            raise UnknownName.among("period", str(self.per), PERIODS)

    def __repr__(self) -> str:
        """Return the recipe as text: a budget for life without a period, as in all recipes so far."""
        return f"Budget(queries={self.queries}" + (")" if self.per is None else f", per={self.per!r})")

    @property
    def query_limit(self) -> int | None:
        """Queries that a client may have answered in all, which the gateway's dashboard shows; None per period."""
        return self.queries if self.per is None else None

    def admit(self, query: QueryLike, account: Account) -> None:
        """Charge the query to the client.

        `OverBudget` is raised, and nothing charged, where the budget does not cover the whole query.
        """
        if self.per is None:
            charge(account, len(query), self.queries)
        else:
            self._charge_period(account, len(query), query.time, self.per)

    def _charge_period(self, account: Account, n: int, time: float, per: str) -> None:
        name, start = f"budget per {per}", time // PERIODS[per] * WINDOW
        end = ((time + CLOCK_SLACK) // PERIODS[per] + 1) * WINDOW
        if not account.add(name, n, floor=start, limit=start + self.queries, ceiling=end):
            left = max(0, self.queries - max(0, int(account.total(name) - start)))
            raise OverBudget(
                f"{n} queries", f"at most {left} more of {self.queries} a {per}",
                f"wait for the next {per}",
                retry_after=PERIODS[per] - time % PERIODS[per] if n <= self.queries else math.inf,
            )  # fmt: skip


def charge(account: Account, n: int, budget: int) -> None:
    """Charge `n` queries to the account.

    Raises:
        OverBudget: if fewer than `n` queries are left. Nothing is charged then.
    """
    if not account.add("budget", n, limit=budget):
        left = budget - int(account.total("budget"))
        raise OverBudget(f"{n} queries", f"at most {left} more of {budget}", "ask for a larger budget")
