"""Work for answers: the more a client's queries have given away, the more."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from feint.defenses.access.privacy_cost import PrivacyCost
from feint.errors import BadRecipe, ProofRequired
from feint.fitting import FitContext, Fittable
from feint.hashcash import SKEW, Puzzle, digest, flaw
from feint.ledger import Account
from feint.pipeline import QueryLike

TABLE = (10, 0.00079), (16, 0.050), (20, 0.81), (24, 12.9)  # at 1.3 million hashes a second, one core, in Python


@dataclass(frozen=True)
class ProofOfWork(Fittable):
    """A query is answered when it carries proof of work, calibrated by privacy cost (Dziedzic et al., ICLR 2022).

        seconds = min(most, n · least · base^excess)   for a request of n queries
        bits    = the line through log₂ of the seconds in `table`, rounded up

    `excess` is the cost of the client's earlier queries above an honest client's (`PrivacyCost`, which has to stand
    among the detectors of the `Ladder`, or the price stays `least`). Chosen here: the excess where the paper takes its
    absolute value, which makes the cheap pay too; the seconds for each query where it prices a request, so that large
    requests save nothing; `least` seconds for an honest query. `table` holds (bits, seconds) as `solve` took them on
    one core; a client with better hardware is that much faster.

    Stamps are HashCash with SHA-256 (`feint.hashcash`), bound to client and query, used once, void after `lifetime`
    seconds. Raises `ProofRequired`, which carries the puzzle. Answers stay exact, and thieves who can pay get them.
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
        if not 0 < self.least <= self.most or self.base < 1 or self.lifetime < 1:
            raise BadRecipe(repr(self), "0 < least ≤ most seconds, base ≥ 1, lifetime ≥ 1 second", "change it")
        if len({bits for bits, _ in self.table}) < 2 or min(seconds for _, seconds in self.table) <= 0:
            raise BadRecipe(f"table={self.table}", "two or more measured pairs (bits, seconds > 0)", "measure more")

    def fit_from(self, context: FitContext) -> Self:
        """This recipe with `cost` fitted; the same fitted `cost` belongs among the detectors."""
        return replace(self, cost=self.cost.fit_from(context))

    def admit(self, query: QueryLike, account: Account) -> None:
        """Let a query with a valid, unused stamp pass; raise `ProofRequired` for any other."""
        puzzle = self.puzzle(query, account)
        if not puzzle.bits:
            return
        found = flaw(query.stamp, puzzle, now=query.time)
        if not found and not account.once(query.stamp, expires=puzzle.expires + SKEW, now=query.time):
            found = "a stamp that was used before"
        if found:
            raise ProofRequired(
                found,
                f"proof of {puzzle.bits} bits of work for this query",
                "solve the puzzle: feint.hashcash.solve(error.puzzle)",
                puzzle=puzzle,
            )

    def puzzle(self, query: QueryLike, account: Account) -> Puzzle:
        """What this query of this client has to prove now."""
        x = query.pixels
        return Puzzle(
            bits=self.bits(len(query), self.cost.excess(account)),
            client=digest(account.client.encode()),
            query=digest(repr((x.shape, str(x.dtype))).encode(), x.tobytes()),
            expires=int(query.time) + self.lifetime,
        )

    def bits(self, n: int, excess: float) -> int:
        """The difficulty of a request of `n` queries after such an excess."""
        log_seconds = math.log2(max(n, 1) * self.least) + excess * math.log2(self.base)
        bits, seconds = np.array(self.table).T
        slope, intercept = np.polyfit(np.log2(seconds), bits, 1)
        return max(0, math.ceil(slope * min(log_seconds, math.log2(self.most)) + intercept))
