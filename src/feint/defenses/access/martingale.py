"""Test martingale over the scores of a client's queries: the running part of a sequential test, without torch."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from feint.defenses.access.e_process import EProcess

LAST_BITS = 1e-5  # relative difference of scores that processor and batch size alone can cause
LEAST = np.finfo(np.float32).min
DRIFT = "drift/queries", "drift/surprise", "drift/p01", "drift/p05"  # sums of 1, −log p, p ≤ 0.01 and p ≤ 0.05
SMALL = 0.01, 0.05
APART = 600.0  # logarithms of terms of one sum: the exponential of less than −745 is 0


@dataclass(frozen=True, eq=False)
class Martingale(EProcess):
    """Bets on the rank of a score among those of benign inputs.

    Each bet begins anew with every query, with the stake w_t = 1 / ((t + 1)(t + 2)) for the t-th query from 0. With
    b_t the win of a bet at query t::

        V_t = (V_(t−1) + w_t) · b_t,    E_t = Σ_bets weight · V_t.

    The state is the number of queries and log V_t of each bet, however long a client stays. Four totals beside it show
    how the client's p-values differ from those of the calibration, for which −log p is 1 on average (`DRIFT`).

    Attributes:
        inputs: Scores of benign inputs, (n,), rising.
        won: Logarithm of what each bet wins at each rank, (n + 1, bets).
        weights: Stake of each bet, (bets,), with sum 1.
        alpha: Level at which the evidence is 1.
    """

    inputs: np.ndarray
    won: np.ndarray
    weights: np.ndarray
    alpha: float

    @property
    def size(self) -> int:
        return 1 + len(self.weights)

    def read(self, statistics: np.ndarray) -> np.ndarray:
        """Return the ranks of scores (m,) among those of benign inputs."""
        return places(self.inputs, statistics)

    @property
    def stakes(self) -> np.ndarray:
        return self.weights

    def grow(self, readings: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wins = self.won[readings.astype(int)]  # of a mixture they are numbers among others
        queries = int(state[0])
        before = state[1:] if queries else np.full_like(state[1:], -np.inf)
        values = wealth(wins, before, queries)
        after = np.empty_like(state)
        after[0], after[1:] = queries + len(wins), values[-1]
        return values, after

    def grow_each(self, readings: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        queries = states[:, :1]
        before = np.where(queries > 0, states[:, 1:], -np.inf)
        stakes = -np.log((queries + 1) * (queries + 2))
        values = self.won[readings.astype(int)] + np.logaddexp(before, stakes)
        return values, np.concatenate([queries + 1, values], 1)

    @property
    def sums(self) -> tuple[str, ...]:
        return DRIFT

    def drift(self, readings: np.ndarray) -> np.ndarray:
        return self._drifts[readings.astype(int)]

    @functools.cached_property
    def surprises(self) -> np.ndarray:
        """−log p of each rank, (n + 1,)."""
        return -np.log(self._levels)

    @functools.cached_property
    def _drifts(self) -> np.ndarray:
        """What a query of each rank adds to the sums, (n + 1, 4)."""
        p = self._levels
        return np.stack([np.ones_like(p), self.surprises, *(p <= small for small in SMALL)], -1)

    @property
    def _levels(self) -> np.ndarray:
        """The p-value of each rank, (n + 1,)."""
        return np.arange(1, len(self.inputs) + 2) / (len(self.inputs) + 1)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Return the martingale that has these `arrays`."""
        return cls(arrays["inputs"], arrays["won"], arrays["weights"], arrays["alpha"].item())

    def arrays(self) -> dict[str, np.ndarray]:
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}


def wealth(wins: np.ndarray, before: np.ndarray, queries: int) -> np.ndarray:
    """Return log V after each of the next queries.

    With S_t the sum of the wins until query t, V_t = exp(S_t) · (V + Σ_(s≤t) w_s · exp(−S_(s−1))). Terms that are too
    far apart for one sum are summed in two halves.

    Args:
        wins: Logarithm of what each bet wins, (…, m, bets).
        before: log V of each bet before them, (…, bets).
        queries: Number of queries before them.

    Returns:
        log V, (…, m, bets).
    """
    count = wins.shape[-2]
    if count == 1:
        return wins + np.logaddexp(before, -math.log((queries + 1.0) * (queries + 2.0)))[..., None, :]
    t = np.arange(queries, queries + count)
    summed = wins.cumsum(-2)
    begun = np.concatenate([np.zeros_like(summed[..., :1, :]), summed[..., :-1, :]], -2)
    terms = -np.log((t + 1.0) * (t + 2.0))[:, None] - begun
    if np.ptp(terms, axis=-2).max() > APART:
        first = wealth(wins[..., : count // 2, :], before, queries)
        return np.concatenate([first, wealth(wins[..., count // 2 :, :], first[..., -1, :], queries + count // 2)], -2)
    top = np.maximum(before, terms.max(-2))[..., None, :]
    return summed + top + np.log(np.exp(before[..., None, :] - top) + np.exp(terms - top).cumsum(-2))


def places(inputs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the number of benign scores that are at most each score.

    Scores that differ by no more than `LAST_BITS` count as equal, in the client's favour. Where a model gives many
    inputs the same score, as trees do, the last bits of an output would otherwise move a query past all of them. A
    score that is no finite number is the least ordinary there is.

    Args:
        inputs: Benign scores, (n,), rising.
        scores: Scores of queries, (N,).

    Returns:
        Counts from 0 to n, (N,).
    """
    if scores.size == 1 and math.isfinite(score := scores.flat[0]):  # 1.1 instead of 7.2 µs for one that comes alone
        return inputs.searchsorted(scores + LAST_BITS * max(abs(score), 1), side="right")
    ordered = np.where(np.isfinite(scores), scores, LEAST)
    return inputs.searchsorted(ordered + LAST_BITS * np.maximum(np.abs(ordered), 1), side="right")
