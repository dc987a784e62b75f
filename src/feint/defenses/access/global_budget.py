"""A fixed number of queries for all clients together."""

from dataclasses import dataclass
from typing import ClassVar

from feint.defenses.access.budget import charge
from feint.errors import BadRecipe
from feint.ledger import Account
from feint.pipeline import QueryLike


@dataclass(frozen=True)
class GlobalBudget:
    """All clients together get `queries` answers and no more (the limit of Tramèr et al., USENIX Security 2016, §7).

    What many names do to a `Budget` they do not do to this one, but one greedy client uses up everybody's answers:
    place it after the rules for one client, which then refuse him first.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    queries: int

    def __post_init__(self) -> None:
        if self.queries < 0:
            raise BadRecipe(f"a budget of {self.queries}", "0 or more queries", "raise it")

    def admit(self, query: QueryLike, account: Account) -> None:
        """Charge the query to what all clients share. Raises `OverBudget`, and charges nothing, where it is used up."""
        charge(account.shared, len(query), self.queries)
