"""Test martingale over the scores of a client's queries: the running part of a sequential test, without torch."""

import functools
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from feint.ledger import Account
from feint.pipeline import QueryLike
from feint.signature import mark

LAST_BITS = 1e-5  # relative difference of scores that processor and batch size alone can cause
MEMORY = 3600.0  # seconds for which a repeated input is recognised


@dataclass(frozen=True, eq=False)
class Martingale:
    """Bets on the rank of a score among those of benign inputs.

    With S_i the sum of log wins over the i-th block of `block` queries, and w_j = 1 / ((j + 1)(j + 2))::

        M_t = Σ_bets weight · Σ_j w_j exp(Σ_(i ≥ j) S_i),    evidence = log max M / log(1/alpha).

    An account stores two numbers for each bet, however long a client stays: the present block's sum, and the logarithm
    of the inner sum over all blocks before it. When a block ends, past := log(exp(past) + w) + S.

    Attributes:
        inputs: Scores of benign inputs, (n,), rising.
        won: Logarithm of what each bet wins at each rank, (n + 1, bets).
        weights: Stake of each bet, (bets,), with sum 1.
        alpha: Level at which the evidence is 1.
        block: Queries in a block.
    """

    inputs: np.ndarray
    won: np.ndarray
    weights: np.ndarray
    alpha: float
    block: int

    def observe(self, scores: np.ndarray, query: QueryLike, account: Account) -> float:
        """Bet on each of the scores, repeated inputs excepted.

        Args:
            scores: Scores of the query's inputs, (N,).
            query: The query, by whose inputs repeats are recognised.
            account: The client's account.

        Returns:
            The largest evidence that the client has ever reached.
        """
        new = _first_times(query, account)
        wins = self.won[places(self.inputs, scores[new])]
        names = _names(len(self.weights))
        if not len(wins):
            return account.total(names[0])
        # a float: a store cannot pack NumPy scalars
        return account.change(names, lambda totals: self._bet(wins, totals)).item(0)

    def _bet(self, wins: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """Return the totals (most, queries, present sums, past) after the bets `wins` (m, bets)."""
        (most, queries), (now, past) = totals[:2], totals[2:].reshape(2, -1)
        while len(wins):  # block by block: most queries lie within one
            begun, done = divmod(int(queries), self.block)
            if begun and not done:
                past, now = np.logaddexp(_before(past, begun - 1), _stake(begun - 1)) + now, np.zeros_like(now)
            here, wins = wins[: self.block - done], wins[self.block - done :]
            current = now + here.cumsum(0)
            mixed = np.logaddexp(_before(past, begun), _stake(begun)) + np.log(self.weights)
            most = max(most, np.logaddexp.reduce(current + mixed, axis=1).max() / -math.log(self.alpha))
            now, queries = current[-1], queries + len(here)
        return np.concatenate([[most, queries], now, past])


def places(inputs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the number of benign scores that are at most each score.

    Scores that differ by no more than `LAST_BITS` count as equal, in the client's favour. Where a model gives many
    inputs the same score, as trees do, the last bits of an output would otherwise move a query past all of them.

    Args:
        inputs: Benign scores, (n,), rising.
        scores: Scores of queries, (N,).

    Returns:
        Counts from 0 to n, (N,).
    """
    return np.searchsorted(inputs, scores + LAST_BITS * np.maximum(np.abs(scores), 1), side="right")


def _before(past: np.ndarray, begun: int) -> np.ndarray:
    """Return the logarithm of the inner sum over the blocks before this one; −∞ before the first."""
    return past if begun else np.full_like(past, -np.inf)


def _stake(block: int) -> float:
    """Return log w_j of a block."""
    return -math.log((block + 1) * (block + 2))  # 1/2 + 1/6 + 1/12 + … = 1


@functools.cache
def _names(bets: int) -> list[str]:
    return ["test/most", "test/queries", *(f"test/{part}/{i}" for part in ("now", "past") for i in range(bets))]


def _first_times(query: QueryLike, account: Account) -> np.ndarray:
    """Return which inputs the client has not sent in the last hour, compared by their marks: (N,) bool."""
    marks = [hashlib.blake2b(code, digest_size=12).hexdigest() for code in mark(query.values)]
    return np.array([account.once(name, expires=query.time + MEMORY, now=query.time) for name in marks], bool)
