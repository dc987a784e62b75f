"""A fixed number of queries for every client."""

from dataclasses import dataclass
from typing import ClassVar

from feint.errors import OverBudget, in_range
from feint.ledger import Account
from feint.pipeline import QueryLike


@dataclass(frozen=True)
class Budget:
    """Each client gets `queries` answers and no more; what is charged is not given back when the line fails later.

    The cheapest defense there is (Tramèr et al., USENIX Security 2016, §7), and blind to clients with many names.
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
        """Charge the query. Raises `OverBudget`, and charges nothing, where it would not be paid in full."""
        charge(account, len(query), self.queries)


def charge(account: Account, n: int, budget: int) -> None:
    """Charge `n` queries to the account, or raise `OverBudget`."""
    if not account.add("budget", n, limit=budget):
        left = budget - int(account.total("budget"))
        raise OverBudget(f"{n} queries", f"at most {left} more of {budget}", "ask for a larger budget")
