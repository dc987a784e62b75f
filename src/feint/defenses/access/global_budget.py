"""A fixed number of queries for all clients together."""

from dataclasses import dataclass
from typing import ClassVar

from feint.defenses.access.budget import charge
from feint.errors import in_range
from feint.ledger import Account
from feint.pipeline import QueryLike


@dataclass(frozen=True)
class GlobalBudget:
    """All clients together get `queries` answers and no more (the limit of Tramèr et al., USENIX Security 2016, §7).

    What many names do to a `Budget` they do not do to this one, but one greedy client uses up everybody's answers:
    place it after the rules for one client, which then refuse him first.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    servable: ClassVar[bool] = True
    queries: int

    def __post_init__(self) -> None:
        in_range(self, "queries", "0 or more queries", 0)

    def admit(self, query: QueryLike, account: Account) -> None:
        """Charge the query to what all clients share. Raises `OverBudget`, and charges nothing, where it is used up."""
        charge(account.shared, len(query), self.queries)
