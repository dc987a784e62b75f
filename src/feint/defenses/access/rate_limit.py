"""Rate limit for each client, with room for a burst."""

from dataclasses import dataclass
from typing import ClassVar

from feint.errors import RateLimited, in_range
from feint.ledger import CLOCK_SLACK, Account
from feint.pipeline import QueryLike

STEP = 2.0**-22  # seconds: resolution of a double at today's epoch, so that a burst of thirds is still a burst


@dataclass(frozen=True)
class RateLimit:
    """Token bucket for each client (Turner, IEEE Communications Magazine 1986).

    It is stored as one number, the theoretical arrival time T of the generic cell rate algorithm. A request of n
    queries at time t sets, in one atomic step of the ledger::

        T := max(T, t) + n / per_second     and is refused where that exceeds  t + burst / per_second

    Time is the query's, in a gateway that of the ledger's store. No right clock leads to a T that is more than a second
    above t + burst / per_second: where the clock has gone back since, T counts as 0. More than `burst` queries in one
    request are never admitted (`retry_after` is inf).

    Attributes:
        per_second: Answers a second in the long run, 1e-9 to 1e9.
        burst: Answers at once after a pause, 1 to 1e9.
    """

    cite: ClassVar[str] = "turner1986directions"
    servable: ClassVar[bool] = True
    per_second: float
    burst: int = 1

    def __post_init__(self) -> None:
        in_range(self, "per_second", "a rate > 0, from 1e-9 to 1e9 queries a second", 1e-9, 1e9)
        in_range(self, "burst", "a burst of 1 to 1e9 queries", 1, 1e9)

    def admit(self, query: QueryLike, account: Account) -> None:
        """Admit the query.

        Raises:
            RateLimited: if the query comes too early; its `retry_after` is the number of seconds to wait.
        """
        cost, room = len(query) / self.per_second, self.burst * (1 / self.per_second + STEP)
        if len(query) > self.burst:
            raise RateLimited(f"{len(query)} queries at once", f"at most {self.burst}", "send smaller requests")
        full = query.time + room
        if not account.add("rate limit", cost, floor=query.time, limit=full, ceiling=full + CLOCK_SLACK):
            wait = max(0.0, account.total("rate limit") + cost - room - query.time)
            raise RateLimited(
                f"{len(query)} queries now",
                f"{self.per_second:g} a second, {self.burst} at once",
                f"wait {wait:.3g} seconds",
                retry_after=wait,
            )
