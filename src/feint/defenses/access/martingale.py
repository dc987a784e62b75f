"""Test martingale over the scores of a client's queries: the running part of a sequential test, without torch."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feint.ledger import Account
from feint.pipeline import QueryLike
from feint.signature import near
from feint.signature.domain import NEAR_DISTANCE

LAST_BITS = 1e-5  # relative difference of scores that processor and batch size alone can cause
REMEMBERED = 100  # codes of recent inputs in each of two generations, 8 bytes each
HALF_CODE = np.uint64(2**24 - 1)
GENERATIONS = "near/0", "near/1"
MOST, QUERIES = "test/most", "test/queries"
DRIFT = "test/surprise", "test/p01", "test/p05"  # sum of −log p; number of p ≤ 0.01, and of p ≤ 0.05
SMALL = 0.01, 0.05


@dataclass(frozen=True, eq=False)
class Martingale:
    """Bets on the rank of a score among those of benign inputs.

    Each bet begins anew with every query, with the stake w_t = 1 / ((t + 1)(t + 2)) for the t-th query from 0. With
    b_t the win of a bet at query t::

        V_t = (V_(t−1) + w_t) · b_t,    evidence = log max_t Σ_bets weight · V_t / log(1/alpha).

    An account stores one number for each bet, however long a client stays: log V_t. Three more show how the client's
    p-values differ from those of the calibration, for which −log p is 1 on average (`DRIFT`).

    Near copies of one of the client's recent inputs (`Domain.near`) are no news, and are not bet on: an honest client
    retries, a still camera sends one scene, and an attacker who repeats ordinary inputs is paid for none of them.

    Attributes:
        inputs: Scores of benign inputs, (n,), rising.
        won: Logarithm of what each bet wins at each rank, (n + 1, bets).
        weights: Stake of each bet, (bets,), with sum 1.
        alpha: Level at which the evidence is 1.
    """

    former_fields: ClassVar[Mapping[str, str]] = {"block": ""}  # in files until 0.2
    inputs: np.ndarray
    won: np.ndarray
    weights: np.ndarray
    alpha: float

    def observe(self, scores: np.ndarray, query: QueryLike, account: Account) -> float:
        """Bet on each of the scores, near copies excepted.

        Args:
            scores: Scores of the query's inputs, (N,).
            query: The query, by whose inputs near copies are recognised.
            account: The client's account.

        Returns:
            The largest evidence that the client has ever reached.
        """
        new = first_of_their_kind(query.values, account)
        ranks = places(self.inputs, scores[new])
        if not len(ranks):
            return account.total(MOST)
        # a float: a store cannot pack NumPy scalars
        return account.change(_names(len(self.weights)), lambda totals: self._bet(ranks, totals)).item(0)

    def _bet(self, ranks: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """Return the totals (most, queries, drift, log V) after bets on the ranks (m,)."""
        (most, queries), drift, values = np.split(totals, [2, 2 + len(DRIFT)])
        before = values if queries else np.full_like(values, -np.inf)
        values = wealth(self.won[ranks], before, int(queries))
        evidence = np.logaddexp.reduce(values + np.log(self.weights), axis=1).max() / -math.log(self.alpha)
        p = (ranks + 1) / (len(self.inputs) + 1)
        surprise = -np.log(p).sum(), *(p[:, None] <= SMALL).sum(0)
        return np.concatenate([[max(most, evidence), queries + len(ranks)], drift + surprise, values[-1]])


def wealth(wins: np.ndarray, before: np.ndarray, queries: int) -> np.ndarray:
    """Return log V after each of the next queries.

    Args:
        wins: Logarithm of what each bet wins, (…, m, bets).
        before: log V of each bet before them, (bets,).
        queries: Number of queries before them.

    Returns:
        log V, (…, m, bets).
    """
    t = np.arange(queries, queries + wins.shape[-2])
    stakes = -np.log((t + 1.0) * (t + 2.0))[:, None]
    summed = wins.cumsum(-2)
    begun = np.concatenate([np.zeros_like(summed[..., :1, :]), summed[..., :-1, :]], -2)
    return summed + np.logaddexp(before, np.logaddexp.accumulate(stakes - begun, axis=-2))


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
    ordered = np.where(np.isfinite(scores), scores, np.finfo(np.float32).min)
    return np.searchsorted(inputs, ordered + LAST_BITS * np.maximum(np.abs(ordered), 1), side="right")


def first_of_their_kind(x: np.ndarray, account: Account) -> np.ndarray:
    """Return which inputs are no near copies of the client's recent ones, and store the codes of those.

    The codes of the last 100 to 200 inputs that were none are kept, in two generations that take turns: 1,600 bytes.

    Args:
        x: Inputs of a query, (N, …).
        account: The client's account.

    Returns:
        A mask, (N,) bool.
    """
    codes = near(x)
    known = np.concatenate([_codes(account, generation) for generation in GENERATIONS] + [codes])
    count, new = len(known) - len(codes), np.ones(len(codes), bool)
    for i, code in enumerate(codes):
        new[i] = not (np.bitwise_count(known[:count] ^ code) <= NEAR_DISTANCE).any()
        if new[i]:
            known[count] = code
            count += 1
    _store(codes[new], account)
    return new


def _codes(account: Account, generation: str) -> np.ndarray:
    """Return the stored codes of a generation, (n,) uint64: each is two numbers of 24 bits."""
    rows = account.rows(generation).array
    if not len(rows):
        return np.empty(0, np.uint64)
    return (rows[:, 0].astype(np.uint64) << np.uint64(24)) | rows[:, 1].astype(np.uint64)


def _store(codes: np.ndarray, account: Account) -> None:
    """Append codes; the older generation is dropped when the younger one is full."""
    if not len(codes):
        return
    halves = np.stack([codes >> np.uint64(24), codes & HALF_CODE], 1).astype(np.float32)
    number = int(account.add_all({"near/codes": len(codes)})["near/codes"]) - len(codes)
    while len(halves):
        generation = GENERATIONS[number // REMEMBERED % 2]
        if number % REMEMBERED == 0:
            account.drop(generation)
        here, halves = np.split(halves, [REMEMBERED - number % REMEMBERED])
        account.rows(generation).append(here, most=REMEMBERED)
        number += len(here)


@functools.cache
def _names(bets: int) -> list[str]:
    return [MOST, QUERIES, *DRIFT, *(f"test/{i}" for i in range(bets))]
