"""Running part of a sequential test, without torch: the winnings of bets on the scores of a client's queries."""

import functools
import hashlib
import math
from dataclasses import dataclass

import numpy as np

from feint.ledger import Account
from feint.pipeline import QueryLike

LAST_BITS = 1e-5  # relative difference of scores that the arithmetic of a processor and a batch explains
MEMORY = 3600.0  # seconds in which the same query counts as a repeat


@dataclass(frozen=True, eq=False)
class Martingale:
    """Bets on the place of a score among the scores of benign inputs.

    With S_i the sum of logarithms over the i-th block of `block` queries, and w_j = 1 / ((j + 1)(j + 2)),

        M_t = Σ_bets weight · Σ_j w_j exp(Σ_(i ≥ j) S_i),    evidence = log max M / log(1/alpha).

    An account has two numbers for each bet, however long a client stays: the present block's sum, and the logarithm of
    the inner sum over all blocks before it, past := log(exp(past) + w) + S at the end of a block.

    Attributes:
        inputs: Scores of benign inputs (n,), rising.
        won: Logarithm (n + 1, bets) of each bet's win at each place.
        weights: Stake (bets,) on each bet; they sum to 1.
        alpha: Level of the test, in (0, 1).
        block: Queries in a block.
    """

    inputs: np.ndarray
    won: np.ndarray
    weights: np.ndarray
    alpha: float
    block: int

    def observe(self, scores: np.ndarray, query: QueryLike, account: Account) -> float:
        """Bet on each of the `scores` (N,) except those of repeats, and return the largest evidence so far."""
        new = _first_times(query, account)
        wins = self.won[places(self.inputs, scores[new])]
        names = _names(len(self.weights))
        if not len(wins):
            return account.total(names[0])
        # a float: a store cannot pack numpy's scalars
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
    """Return the place of each score among benign ones: the number of `inputs` that are at most the score.

    Scores that differ by no more than `LAST_BITS` count as equal, in favour of the client: where a model gives many
    inputs the same score, as trees do, the last bits of an output would otherwise move a query past all of them.

    Args:
        inputs: Benign scores (n,), rising.
        scores: Scores (N,).

    Returns:
        Places (N,) of integers from 0 to n.
    """
    return np.searchsorted(inputs, scores + LAST_BITS * np.maximum(np.abs(scores), 1), side="right")


def _before(past: np.ndarray, begun: int) -> np.ndarray:
    """Return the logarithm over all blocks before the one with this number; -inf before the first."""
    return past if begun else np.full_like(past, -np.inf)


def _stake(block: int) -> float:
    return -math.log((block + 1) * (block + 2))  # 1/2 + 1/6 + 1/12 + … = 1


@functools.cache
def _names(bets: int) -> list[str]:
    return ["test/most", "test/queries", *(f"test/{part}/{i}" for part in ("now", "past") for i in range(bets))]


def _first_times(query: QueryLike, account: Account) -> np.ndarray:
    """Return (N,) of bool: the inputs that the client has not sent in the last hour, in 256 levels as in `keyed`."""
    levels = np.rint(query.pixels * np.float32(255)).astype(np.uint8)
    marks = [hashlib.blake2b(row.tobytes(), digest_size=12).hexdigest() for row in levels]
    return np.array([account.once(mark, expires=query.time + MEMORY, now=query.time) for mark in marks], bool)
