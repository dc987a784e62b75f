"""Access rules: one that a gateway serves without torch, and one that stays in Python."""

from dataclasses import dataclass
from typing import ClassVar

from feint.errors import OverBudget, Suspected


@dataclass(frozen=True)
class Quota:
    """So many inputs for each client."""

    cite: ClassVar[str] = "example2026averaging"
    servable: ClassVar[bool] = True
    inputs: int = 10

    def admit(self, query, account) -> None:
        if not account.add("quota", len(query), limit=self.inputs):
            raise OverBudget(f"{len(query)} inputs", f"{self.inputs} in all", "ask less")


@dataclass(frozen=True)
class Curfew:
    """No answers before an hour of the day."""

    cite: ClassVar[str] = "example2026averaging"
    hour: int = 8

    def admit(self, query, account) -> None:
        if query.time % 86400 < 3600 * self.hour:
            raise Suspected("a query at night", f"one after {self.hour} o'clock", "come back in the morning")
