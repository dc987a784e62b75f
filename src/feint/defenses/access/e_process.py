"""E-processes of a client's queries: the running parts of detectors, without torch."""

import functools
import math
from abc import ABC, abstractmethod

import numpy as np

from feint.defenses.access.near_copies import first_of_their_kind
from feint.ledger import Account
from feint.pipeline import QueryLike

NOW = "test/now"  # total of an account: log E after the client's last query, of which e-BH makes use


class EProcess(ABC):
    """Running part of a detector: an e-process of a client's queries, whose state is a few numbers.

    An e-process E is at most 1 in expectation at any time that an honest client, or whoever looks, may choose to stop.
    Evidence is log max E / log(1/alpha), so that an honest client's ever reaches 1 with probability ≤ alpha (Ville's
    inequality). The mean of e-processes is one as well, whatever the dependence among them: `Mixture`.

    Near copies of one of the client's recent inputs (`Domain.near`) are no news, and are not bet on: an honest client
    retries, a still camera sends one scene, and an attacker who repeats ordinary inputs is paid for none of them.

    Attributes:
        alpha: Level at which the evidence is 1.
    """

    alpha: float

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of numbers of the state."""

    @abstractmethod
    def advance(self, statistics: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bet on the next queries.

        Args:
            statistics: Statistics of m ≥ 1 queries, (m,) or (m, d).
            state: State before them, (size,) float64. A client begins with zeros.

        Returns:
            log E after each query, (m,), and the state after the last one.
        """

    def drift(self, statistics: np.ndarray) -> dict[str, float]:
        """Return sums that show how queries differ from those of the calibration, for the account; nothing here.

        Args:
            statistics: Statistics of m ≥ 1 queries, as in `advance`.
        """
        return {}

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return all numbers by name, from which `process_of` makes the process again."""

    def observe(self, statistics: np.ndarray, query: QueryLike, account: Account) -> float:
        """Bet on each input of a query, near copies excepted.

        Args:
            statistics: Statistics of the query's inputs, (N,) or (N, d).
            query: The query, by whose inputs near copies are recognised.
            account: The client's account.

        Returns:
            The largest evidence that the client has ever reached.
        """
        new = first_of_their_kind(query.near, account)
        names = _names(self.size)
        if not new.any():
            return account.total(names[0])

        def advanced(totals: np.ndarray) -> np.ndarray:
            values, state = self.advance(statistics[new], totals[2:])
            return np.concatenate([[max(totals[0], values.max() / -math.log(self.alpha)), values[-1]], state])

        account.add_all(self.drift(statistics[new]))
        # a float: a store cannot pack NumPy scalars
        return account.change(names, advanced).item(0)


def mixed(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the logarithm of the weighted mean over the last axis, of logarithms (…, n), one or more finite."""
    top = values.max(-1, keepdims=True)
    return top[..., 0] + np.log((np.exp(values - top) * weights).sum(-1))


@functools.cache
def _names(size: int) -> list[str]:
    return ["test/most", NOW, "test/queries", *(f"test/{i}" for i in range(size - 1))]
