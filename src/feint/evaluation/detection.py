"""Detection delay: after how many queries a detector accuses clients, by replay of drawn statistics.

No client is simulated at the model: it answers each input once, and thousands of clients are drawn from its statistics.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from feint.defenses.access.binomial import upper_bound
from feint.defenses.access.detector import EProcessDetector
from feint.defenses.access.e_process import EProcess

Array = np.ndarray
PART = 200  # queries replayed at once


@dataclass(frozen=True, eq=False)
class Accusations:
    """Accusations of simulated clients.

    Attributes:
        first: Number of the query at which each client was accused, (clients,); infinite for none.
        length: Queries of each client.
        share: Share of the queries that the attacker wants answered.
    """

    first: Array
    length: int
    share: float = 1.0

    @property
    def accused(self) -> int:
        """Number of clients that were accused."""
        return int(np.isfinite(self.first).sum())

    @property
    def rate(self) -> float:
        """Share of clients that were accused."""
        return self.accused / len(self.first)

    @property
    def bound(self) -> float:
        """Upper 95 % confidence bound of the rate (Clopper and Pearson)."""
        return upper_bound(self.accused, len(self.first))

    @property
    def median(self) -> float | None:
        """Median number of queries until the accusation; None where half of the clients are never accused."""
        # the lower of two middle ones: their mean is infinite, or no number, where one of them is
        median = float(np.quantile(self.first, 0.5, method="lower"))
        return median if math.isfinite(median) else None

    def bought(self, accounts: int, wanted: int) -> float | None:
        """Return how many of the wanted answers are given before accusations.

        Args:
            accounts: Number of accounts that share the work.
            wanted: Number of answers that the attacker wants.

        Returns:
            The number on average; None where it depends on queries later than those replayed.
        """
        each = wanted / accounts / self.share  # queries of an account
        if each > self.length and self.accused < len(self.first):
            return None  # `least` is a lower bound
        return self.least(accounts, each)

    def least(self, accounts: int, queries: float = math.inf) -> float:
        """Return how many wanted answers so many accounts get on average in `queries` each, of those replayed."""
        return accounts * self.share * float(np.minimum(self.first - 1, min(queries, self.length)).mean())


def first_accusation(evidence: Iterable[float]) -> float:
    """Return the number of the first query, or request, from 1, after which evidence is 1 or more; infinite for none.

    Nothing is computed after it where the evidence is computed as it is read.
    """
    return next((float(i) for i, value in enumerate(evidence, 1) if value >= 1), math.inf)


def accusations(
    detector: EProcessDetector,
    attack: Array,
    ordinary: Array,
    share: float,
    *,
    clients: int,
    length: int,
    seed: int = 0,
) -> Accusations:
    """Replay clients of whose queries each is one of the attack's with a probability, and else an ordinary one.

    Args:
        detector: A fitted detector.
        attack: Statistics of the attack's queries, (n,) or (n, d).
        ordinary: Statistics of honest inputs that the detector was not fitted to, (m,) or (m, d).
        share: The probability, from 0 for an honest client to 1.
        clients: Number of clients.
        length: Queries of each.
        seed: Seed of the draws.

    Returns:
        The accusations. Inputs are drawn with replacement, and count as different ones.
    """
    generator, process, first = np.random.default_rng(seed), detector.process, []
    for _ in range(clients):
        chosen = generator.random(length) < share
        statistics = ordinary[generator.integers(len(ordinary), size=length)]
        statistics[chosen] = attack[generator.integers(len(attack), size=int(chosen.sum()))]
        first.append(_accused_at(process, statistics))
    return Accusations(np.array(first), length, share or 1.0)


def _accused_at(process: EProcess, statistics: Array) -> float:
    """Return the number of the query at which a client is accused; nothing is computed after it."""
    state, done = np.zeros(process.size), 0
    while done < len(statistics):
        values, state = process.advance(statistics[done : done + PART], state)
        if (first := first_accusation(values / -math.log(process.alpha))) < math.inf:
            return done + first
        done += PART
    return math.inf
