"""E-processes of a client's queries: the running parts of detectors, without torch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from feint.defenses.access import client_state
from feint.defenses.access.client_state import ClientState, ClientStates
from feint.defenses.access.near_copies import first_of_their_kind, new_to_each
from feint.ledger import Account
from feint.pipeline import QueryLike

MOST = "test/most"  # total of an account: the largest evidence that there ever was
NOW = "test/now"  # total of an account: log E after the client's last query, which e-BH uses


class PrivateAccount(Protocol):
    """Account that nobody else changes meanwhile: one within a transaction."""

    def peek_at(self, names: Sequence[str], array: str) -> tuple[list[float], np.ndarray]:
        """Return totals, and an array, empty at first, whose change will depend on both."""
        ...

    def put(self, totals: Mapping[str, float], array: str, numbers: np.ndarray) -> None:
        """Replace totals and an array."""
        ...


class Observation(NamedTuple):
    """Query of an account, and its readings."""

    readings: np.ndarray
    query: QueryLike
    account: PrivateAccount


class NewEvidence(NamedTuple):
    """Result of an observation, which is not stored yet.

    Attributes:
        account: Account of the query.
        totals: Its totals afterwards.
        state: Its array afterwards; None after a near copy, which changes neither.
    """

    account: PrivateAccount
    totals: dict[str, float]
    state: np.ndarray | None

    def store(self) -> float:
        """Store it; return the largest evidence that the client has ever reached."""
        if self.state is not None:
            self.account.put(self.totals, client_state.NAME, self.state)
        return self.totals[MOST]


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

    def grow_each(self, readings: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bet on the next query of each of several clients.

        Args:
            readings: What `read` returned of n queries, one of each client.
            states: States before them, (n, size).

        Returns:
            What each bet of each client is worth, as in `grow`, (n, bets), and the states, (n, size).
        """
        each = [self.grow(readings[i : i + 1], state) for i, state in enumerate(states)]
        return np.concatenate([worth for worth, _ in each]), np.stack([after for _, after in each])

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
        """Return what each query adds to the `sums`, (m, len(sums)); `readings` are those of `bet`."""
        return np.zeros((len(readings), len(self.sums)))

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
            self._raise(totals, values.max(), values[-1], self.drift(fresh).sum(0))
            return totals, ClientState(recent, numbers).packed()

        # a float: a store cannot pack NumPy scalars
        return account.change(self._totals, client_state.NAME, advanced).item(0)

    def observe_each(self, observations: Sequence[Observation]) -> list[NewEvidence | None]:
        """Bet on queries of several accounts at once, and store nothing.

        Returns:
            The evidence of each. None for one that is to be observed by itself: a query of several inputs, or a
            client's first.
        """
        names = self._totals
        evidence: list[NewEvidence | None] = [None] * len(observations)
        ready = [
            (i, at, totals, array)
            for i, at in enumerate(observations)
            if len(at.query) == 1
            for totals, array in [at.account.peek_at(names, client_state.NAME)]
            if client_state.holds(array, self.size)
        ]
        if not ready:
            return evidence
        places, known, totals, arrays = zip(*ready, strict=True)
        before = ClientStates.unpacked(arrays, self.size)
        codes, readings = (
            np.concatenate(each) for each in zip(*((at.query.near, at.readings) for at in known), strict=True)
        )
        new = new_to_each(codes, before.recent)
        worth, numbers = self.grow_each(readings, before.numbers)
        values = mixed(worth, self.stakes)
        after = np.array(totals)
        self._raise(after.T, values, values, self.drift(readings).T)
        states = before._replace(numbers=numbers).packed_with(codes)
        for n, i in enumerate(places):
            row = after[n].tolist() if new[n] else totals[n]
            evidence[i] = NewEvidence(
                known[n].account, dict(zip(names, row, strict=True)), states[n] if new[n] else None
            )
        return evidence

    @property
    def _totals(self) -> tuple[str, ...]:
        return MOST, NOW, *self.sums

    def _raise(self, totals: np.ndarray, top: np.ndarray, last: np.ndarray, drift: np.ndarray) -> None:
        """Change the totals (len(_totals), …) after queries with log E of `top` at most and `last` after the last."""
        totals[0] = np.maximum(totals[0], top / -math.log(self.alpha))
        totals[1] = last
        totals[2:] += drift


def mixed(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the logarithm of the weighted mean over the last axis, of logarithms (…, n), one or more finite."""
    top = np.maximum.reduce(values, -1, keepdims=True)
    return top[..., 0] + np.log(np.exp(values - top) @ weights)
