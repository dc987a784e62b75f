"""Query budget for all clients together."""

from dataclasses import dataclass
from typing import ClassVar

from feint.defenses.access.budget import MOST, charge
from feint.errors import in_range
from feint.ledger import Account
from feint.pipeline import QueryLike


@dataclass(frozen=True)
class GlobalBudget:
    """Fixed number of queries for all clients together (the limit of Tramèr et al., USENIX Security 2016, §7).

    Many client names do not evade it, as they do a `Budget`, but one greedy client uses up everybody's answers. Place
    it after the rules for single clients, which then refuse that client first.

    Attributes:
        queries: Queries that all clients may send in all, 0 to 1e15.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    servable: ClassVar[bool] = True
    queries: int

    def __post_init__(self) -> None:
        in_range(self, "queries", f"0 or more queries, at most {MOST:g}", 0, MOST)

    def admit(self, query: QueryLike, account: Account) -> None:
        """Charge the query to the account that all clients share.

        `OverBudget` is raised, and nothing charged, where the budget does not cover the whole query.
        """
        charge(account.shared, len(query), self.queries)
