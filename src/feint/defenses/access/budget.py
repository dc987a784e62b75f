"""Query budget for each client."""

from dataclasses import dataclass
from typing import ClassVar

from feint.errors import OverBudget, in_range
from feint.ledger import Account
from feint.pipeline import QueryLike


@dataclass(frozen=True)
class Budget:
    """Fixed number of queries for each client (Tramèr et al., USENIX Security 2016, §7).

    It is the cheapest defense, and blind to an attacker with many client names. A charge is not refunded when a later
    step of the line fails.

    Attributes:
        queries: Queries that each client may send in all, 0 or more.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    servable: ClassVar[bool] = True
    queries: int

    def __post_init__(self) -> None:
        in_range(self, "queries", "0 or more queries", 0)

    @property
    def query_limit(self) -> int:
        """Queries that a client may have answered in all: a trait that the gateway's dashboard shows."""
        return self.queries

    def admit(self, query: QueryLike, account: Account) -> None:
        """Charge the query to the client.

        `OverBudget` is raised, and nothing charged, where the budget does not cover the whole query.
        """
        charge(account, len(query), self.queries)


def charge(account: Account, n: int, budget: int) -> None:
    """Charge `n` queries to the account.

    Raises:
        OverBudget: if fewer than `n` queries are left. Nothing is charged then.
    """
    if not account.add("budget", n, limit=budget):
        left = budget - int(account.total("budget"))
        raise OverBudget(f"{n} queries", f"at most {left} more of {budget}", "ask for a larger budget")
