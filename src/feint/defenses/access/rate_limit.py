"""A steady rate of queries for every client, with room for a burst."""

import math
from dataclasses import dataclass
from typing import ClassVar

from feint.errors import BadRecipe, RateLimited
from feint.ledger import Account
from feint.pipeline import QueryLike

STEP = 2.0**-22  # seconds: what a double tells apart at today's epoch, so that a burst of thirds is still a burst


@dataclass(frozen=True)
class RateLimit:
    """Each client gets `per_second` answers a second in the long run, and `burst` at once after a pause.

    The token bucket (Turner, IEEE Communications Magazine 1986), kept as one number, the theoretical arrival time of
    the generic cell rate algorithm: a request of n queries at time t sets

        T := max(T, t) + n / per_second     and is refused where that exceeds  t + burst / per_second

    in one atomic step of the ledger. Time is the query's: one whose clock went back waits for it to come again. More
    than `burst` queries in one request can never be had (`retry_after` is inf). Raises `RateLimited`.
    """

    cite: ClassVar[str] = "turner1986directions"
    servable: ClassVar[bool] = True
    per_second: float
    burst: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.per_second < math.inf or self.burst < 1:
            raise BadRecipe(repr(self), "a finite rate > 0 and a burst of 1 or more queries", "change it")

    def admit(self, query: QueryLike, account: Account) -> None:
        """Let the query pass, or raise `RateLimited`, which says how many seconds to wait."""
        cost, room = len(query) / self.per_second, self.burst * (1 / self.per_second + STEP)
        if len(query) > self.burst:
            raise RateLimited(f"{len(query)} queries at once", f"at most {self.burst}", "send smaller requests")
        if not account.add("rate limit", cost, floor=query.time, limit=query.time + room):
            wait = max(0.0, account.total("rate limit") + cost - room - query.time)
            raise RateLimited(
                f"{len(query)} queries now",
                f"{self.per_second:g} a second, {self.burst} at once",
                f"wait {wait:.3g} seconds",
                retry_after=wait,
            )
