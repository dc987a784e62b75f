"""Refusal of every query, for a ladder's last rung."""

from dataclasses import dataclass
from typing import ClassVar

from feint.errors import Suspected
from feint.ledger import Account
from feint.pipeline import QueryLike


@dataclass(frozen=True)
class Refuse:
    """Access rule that refuses every query, for clients against whom the evidence is strong.

    Banning an account on an alarm is the response of Zhang, Chen and Wagner (AISec 2021).
    """

    cite: ClassVar[str] = "zhang2021seat"
    servable: ClassVar[bool] = True

    def admit(self, query: QueryLike, account: Account) -> None:
        """Refuse the query.

        Raises:
            Suspected: always.
        """
        raise Suspected(f"a query of {account.client!r}", "a client without evidence against it", "talk to the owner")
