"""Proofs of work, priced by what a client's queries have revealed."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from feint.defenses.access.privacy_cost import PrivacyCost
from feint.errors import BadRecipe, ProofRequired, in_range
from feint.fitting import FitContext, Fittable
from feint.hashcash import Puzzle, digest, expiry, flaw
from feint.ledger import Account
from feint.pipeline import QueryLike

TABLE = (10, 0.00079), (16, 0.050), (20, 0.81), (24, 12.9)  # at 1.3 million hashes a second, one core, in Python


@dataclass(frozen=True)
class ProofOfWork(Fittable):
    """Access rule that asks for proof of work, calibrated by privacy cost (Dziedzic et al., ICLR 2022).

    The price of a request of n queries is::

        seconds = min(most, n · least · base^excess)
        bits    = the line through log₂ of the seconds in `table`, rounded up

    The excess is the cost of the client's earlier queries above an honest client's. `PrivacyCost` measures it and has
    to be among the detectors of the `Ladder`; otherwise the price stays `least`.

    Three rules were chosen here. The excess replaces the paper's absolute value, which makes cheap clients pay too.
    Seconds are priced for each query, not for a request, so that large requests save nothing. An honest query costs
    `least`.

    Stamps are HashCash with SHA-256 (`feint.hashcash`). They are bound to client and query, used once, and expire after
    `lifetime` seconds, by a time that never goes back (`Account.token_time`). Answers stay exact, and attackers who can
    pay get them. `ProofRequired` is raised with the puzzle.

    Attributes:
        cost: The detector whose excess sets the price.
        least: Seconds of work for an honest query, 1e-9 to `most`.
        most: Most seconds of work for a request, up to 1e9.
        base: Growth of the price with each unit of excess, 1 to 1e9.
        lifetime: Seconds for which a stamp is valid.
        table: Pairs (bits, seconds) as `feint.hashcash.solve` took them on one core. A client with better hardware is
            that much faster.
    """

    cite: ClassVar[str] = "dziedzic2022increasing"
    servable: ClassVar[bool] = True
    cost: PrivacyCost = PrivacyCost()
    least: float = 0.01
    most: float = 2948.0
    base: float = 1.0075
    lifetime: int = 3600
    table: tuple[tuple[int, float], ...] = TABLE

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", tuple((int(bits), float(seconds)) for bits, seconds in self.table))
        in_range(self, "most", "1e-9 to 1e9 seconds of work", 1e-9, 1e9)
        in_range(self, "least", "seconds of work from 1e-9 to `most`", 1e-9, self.most)
        in_range(self, "base", "1 (one price for all) to 1e9", 1, 1e9)
        in_range(self, "lifetime", "1 to 1e9 seconds", 1, 1e9)
        if len({bits for bits, _ in self.table}) < 2 or min(seconds for _, seconds in self.table) <= 0:
            raise BadRecipe(f"table={self.table}", "two or more measured pairs (bits, seconds > 0)", "measure more")

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with `cost` fitted; the same fitted `cost` belongs among the detectors."""
        return replace(self, cost=self.cost.fit_from(context))

    def admit(self, query: QueryLike, account: Account) -> None:
        """Admit a query with a valid, unused stamp.

        Raises:
            ProofRequired: for any other query, with the puzzle to solve.
        """
        puzzle = self.puzzle(query, account)
        if not puzzle.bits:
            return
        now = account.token_time(query.time)
        reason = flaw(query.stamp, puzzle, now=now)
        if not reason and not account.once(query.stamp, expires=expiry(query.stamp), now=now):
            reason = "a stamp that was used before"
        if reason:
            raise ProofRequired(
                reason,
                f"proof of {puzzle.bits} bits of work for this query",
                "solve the puzzle: feint.hashcash.solve(error.puzzle)",
                puzzle=puzzle,
            )

    def puzzle(self, query: QueryLike, account: Account) -> Puzzle:
        """Return the puzzle that this query of this client has to solve now."""
        x = query.values
        return Puzzle(
            bits=self.bits(len(query), self.cost.excess(account.group)),
            client=digest(account.client.encode()),
            query=digest(repr((x.shape, str(x.dtype))).encode(), x.tobytes()),
            expires=int(account.token_time(query.time)) + self.lifetime,
        )

    def bits(self, n: int, excess: float) -> int:
        """Return the difficulty of a request of `n` queries after `excess`."""
        log_seconds = math.log2(max(n, 1) * self.least) + excess * math.log2(self.base)
        bits, seconds = np.array(self.table).T
        slope, intercept = np.polyfit(np.log2(seconds), bits, 1)
        return max(0, math.ceil(slope * min(log_seconds, math.log2(self.most)) + intercept))
