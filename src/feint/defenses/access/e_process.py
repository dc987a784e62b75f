"""E-processes of a client's queries: the running parts of detectors, without torch."""

import math
from abc import ABC, abstractmethod

import numpy as np

from feint.defenses.access import client_state
from feint.defenses.access.client_state import ClientState
from feint.defenses.access.near_copies import first_of_their_kind
from feint.ledger import Account
from feint.pipeline import QueryLike

MOST = "test/most"  # total of an account: the largest evidence that there ever was
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

    def read(self, statistics: np.ndarray) -> np.ndarray:
        """Return what the bets read of statistics (m,) or (m, d), whatever the state: for many clients at once."""
        return statistics

    @property
    @abstractmethod
    def stakes(self) -> np.ndarray:
        """Stake of each bet, (bets,), with sum 1."""

    @abstractmethod
    def grow(self, readings: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bet on the next queries.

        Args:
            readings: What `read` returned of m ≥ 1 queries.
            state: State before them, (size,) float64. A client begins with zeros.

        Returns:
            Logarithm of what each bet is worth after each query, as a multiple of its stake, (m, bets), and the state
            after the last query.
        """

    def bet(self, readings: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bet on the next queries, as `grow`, and return log E after each, (m,), and the state after the last."""
        worth, after = self.grow(readings, state)
        return mixed(worth, self.stakes), after

    def advance(self, statistics: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bet on the next queries, as `bet`, by their statistics (m,) or (m, d)."""
        return self.bet(self.read(statistics), state)

    @property
    def sums(self) -> tuple[str, ...]:
        """Totals of an account that show how its queries differ from those of the calibration; none here."""
        return ()

    def drift(self, readings: np.ndarray) -> np.ndarray:
        """Return what queries add to the `sums`, (len(sums),); `readings` are those of `bet`."""
        return np.zeros(len(self.sums))

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
        return self.observe_readings(self.read(statistics), query, account)

    def observe_readings(self, readings: np.ndarray, query: QueryLike, account: Account) -> float:
        """Bet as `observe`, by the readings of the query's inputs."""
        if not account.rows(client_state.NAME):
            client_state.adopt(account, self.size)

        def advanced(totals: np.ndarray, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            before = ClientState.unpacked(array, self.size)
            new, recent = first_of_their_kind(query.near, before.recent)
            if not new.any():
                return totals, array
            fresh = readings[new]
            values, numbers = self.bet(fresh, before.numbers)
            totals[:2] = max(totals[0], values.max() / -math.log(self.alpha)), values[-1]
            totals[2:] += self.drift(fresh)
            return totals, ClientState(recent, numbers).packed()

        # a float: a store cannot pack NumPy scalars
        return account.change((MOST, NOW, *self.sums), client_state.NAME, advanced).item(0)


def mixed(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the logarithm of the weighted mean over the last axis, of logarithms (…, n), one or more finite."""
    top = np.maximum.reduce(values, -1, keepdims=True)
    return top[..., 0] + np.log(np.exp(values - top) @ weights)
