"""The wall: an attack has an `Oracle`, and nothing else.

The oracle answers, counts the queries and keeps the transcript. 1 query = 1 input, repeats and augmentations included.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from feint import hashcash
from feint.errors import BadInput, OverBudget, ProofRequired, RateLimited, Refused, TooLarge
from feint.paid.interrupts import finishing, interruptible
from feint.query import Answer, Query, now
from feint.transcript import Transcript

BATCH = 256  # inputs in a query at most


class Oracle(Protocol):
    """The attacker's only access to a victim."""

    @property
    def transcript(self) -> Transcript:
        """Answered inputs so far, and their answers."""
        ...

    @property
    def asked(self) -> int:
        """Number of queries answered so far: the cost of the attack."""
        ...

    @property
    def left(self) -> int:
        """Number of queries that are left of the budget."""
        ...

    @property
    def waited(self) -> float:
        """Seconds spent waiting so far."""
        ...

    @property
    def refusal(self) -> Refused | None:
        """Last refusal of the service, or None."""
        ...

    def ask(self, x: Tensor) -> Tensor:
        """Return the answers `p` (N, K) to the inputs `x` (N, …) of the victim's domain.

        Raises `Refused` where not all were answered; the answered ones are in the transcript.
        """
        ...

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        """Return the answers (n, K) to the first n ≤ N rows of `x`, and the refusal of the others or None."""
        ...

    def use_account(self, number: int) -> None:
        """Send the next queries as another client: the attacker's account of this number, counted from 0."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait before the next query."""
        ...

    def keep_answers_only(self) -> None:
        """Keep a sketch of each input in the transcript: for attacks that send millions and never read them again."""
        ...


class CountingOracle:
    """Oracle that sends queries in batches, stops at the budget and keeps every answer.

    Time is simulated: `wait` advances the clock without sleeping, and every query carries a timestamp. Like any client,
    the oracle waits after a `RateLimited` and solves the puzzle of a `ProofRequired`.

    Args:
        send: Function that answers a query: a service in this process, or a connection to one.
        budget: Number of queries in all.
        client: Name of the attacker's first account; `account` names the others.
        batch_size: Largest number of inputs in a query.
        patience: Seconds that the oracle waits in all before a `RateLimited` is final.
        past: Transcript of the same attack, interrupted. Its queries are paid for and are answered from it, so that an
            attack continues by starting again. `feint.transcript` defines which queries count as the recorded ones.

    Raises:
        BadInput: The budget is less than 1.
    """

    def __init__(
        self,
        send: Callable[[Query], Answer],
        *,
        budget: int,
        client: str = "anonymous",
        batch_size: int = BATCH,
        patience: float = math.inf,
        past: Transcript | None = None,
    ) -> None:
        if budget < 1:
            raise BadInput(f"a budget of {budget} queries", "at least 1", "raise the budget")
        self.budget, self.client = budget, client
        self.transcript = Transcript()
        self.waited = 0.0
        self.refusal: Refused | None = None
        self._send, self._batch_size, self._patience, self._past = send, batch_size, patience, past
        self._account, self._clock = client, 0.0

    @property
    def asked(self) -> int:
        return len(self.transcript)

    @property
    def left(self) -> int:
        return self.budget - self.asked

    def use_account(self, number: int) -> None:
        self._account = account(self.client, number)

    def wait(self, seconds: float) -> None:
        self._clock = max(self._clock, now()) + seconds
        self.waited += seconds

    def keep_answers_only(self) -> None:
        self.transcript.keep_answers_only()

    def ask(self, x: Tensor) -> Tensor:
        return raise_if_refused(*self.try_ask(x))

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        if not len(x):
            return self._send(self._query(x)).p, None
        granted, answers, size, refusal = x[: self.left], [], self._batch_size, None
        while len(granted) and refusal is None:
            batch = granted[:size]
            try:
                with finishing():
                    x_answered, p = self._answer(batch)
                    self.transcript.record(x_answered, p)
            except (OverBudget, RateLimited) as error:
                size //= 2  # within the service's limits a smaller batch may be answered
                refusal = None if size else error
            except TooLarge:
                if len(batch) == 1:
                    raise
                size = len(batch) // 2
            except Refused as error:
                refusal = error
            else:
                answers.append(p)
                granted = granted[len(p) :]
        self.refusal = refusal or self.refusal
        if refusal is None and sum(map(len, answers)) < len(x):
            refusal = OverBudget(
                f"{len(x)} more queries after {self.asked - sum(map(len, answers))}",
                f"at most {self.budget} in all",
                "raise the budget, or learn from the transcript",
            )
        return concatenate(answers), refusal

    def _answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first rows of `x` with their answers, recorded or new; wait and solve puzzles on demand."""
        known = self._past.remembered(x, self.asked) if self._past is not None else None
        if known is not None:
            return known
        stamp = ""
        while True:
            try:
                p = self._send(self._query(x, stamp)).p
                return x[: len(p)], p
            except ProofRequired as demand:
                if demand.puzzle is None or stamp:
                    raise
                with interruptible():
                    stamp = hashcash.solve(demand.puzzle)
            except RateLimited as demand:
                if self.waited + demand.retry_after > self._patience or demand.retry_after == math.inf:
                    raise
                self.wait(demand.retry_after)

    def _query(self, x: Tensor, stamp: str = "") -> Query:
        return Query(x, self._account, stamp, max(self._clock, now()))


def account(client: str, number: int) -> str:
    """Return the name of the account of this number of the attacker `client`."""
    return f"{client}-{number}" if number else client


class OracleWrapper:
    """Base class of oracles that wrap another one: a lens or a tactic overrides the methods that it changes."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    @property
    def transcript(self) -> Transcript:
        return self._oracle.transcript

    @property
    def asked(self) -> int:
        return self._oracle.asked

    @property
    def left(self) -> int:
        return self._oracle.left

    @property
    def waited(self) -> float:
        return self._oracle.waited

    @property
    def refusal(self) -> Refused | None:
        return self._oracle.refusal

    def ask(self, x: Tensor) -> Tensor:
        return raise_if_refused(*self.try_ask(x))

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        return self._oracle.try_ask(x)

    def use_account(self, number: int) -> None:
        self._oracle.use_account(number)

    def wait(self, seconds: float) -> None:
        self._oracle.wait(seconds)

    def keep_answers_only(self) -> None:
        self._oracle.keep_answers_only()


def raise_if_refused(p: Tensor, refusal: Refused | None) -> Tensor:
    """Return the answers `p`, or raise the refusal where there is one."""
    if refusal is not None:
        raise refusal
    return p


def concatenate(answers: Sequence[Tensor]) -> Tensor:
    """Return partial answers (n, K) as one tensor; (0, 0) where there are none."""
    return torch.cat([p for p in answers if len(p)] or [torch.empty(0, 0)])
