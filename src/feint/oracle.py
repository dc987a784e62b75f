"""The wall: an attack holds an `Oracle`, and nothing else.

It answers, shows the bill and keeps the transcript. 1 query = 1 input, repeats and augmentations included.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from feint import hashcash
from feint.errors import BadInput, OverBudget, ProofRequired, RateLimited, Refused, TooLarge
from feint.query import Answer, Query
from feint.transcript import Transcript


class Oracle(Protocol):
    """All that an attacker holds."""

    @property
    def transcript(self) -> Transcript:
        """What was asked so far, and what came back."""
        ...

    @property
    def asked(self) -> int:
        """The bill: queries sent to the victim so far."""
        ...

    @property
    def left(self) -> int:
        """How many more inputs the budget pays for."""
        ...

    @property
    def waited(self) -> float:
        """How many seconds were spent waiting so far."""
        ...

    @property
    def refusal(self) -> Refused | None:
        """The last refusal of the service, if there was one."""
        ...

    def ask(self, x: Tensor) -> Tensor:
        """Answers `p` (N, K) to the inputs `x` (N, …) in [0, 1].

        Raises `Refused` when not all could be answered; those that were are in the transcript.
        """
        ...

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        """Answers to the first rows of `x` that could be had, and the refusal that ended them, if any."""
        ...

    def use_account(self, number: int) -> None:
        """Ask as another client from now on: the attacker's account of this number, of which 0 is the first."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass before the next query."""
        ...

    def keep_answers_only(self) -> None:
        """Keep a sketch of each input of the transcript: an attack that asks millions never looks back at them."""
        ...


class CountingOracle:
    """The oracle that counts: it sends in batches, stops at the budget and keeps every answer.

    `send` answers a query: a service in this process, or a connection to one. `account` says under which names. The
    clock is the attacker's: `wait` moves it on, and a query says when it is sent, so that time costs nothing where the
    service is in this process. Like any client it waits where it is asked to, up to `patience` seconds in all, and does
    the work that is asked for. `past` is a transcript that the same attack left when it was interrupted: what it holds
    is paid for and is answered from it, so that an attack continues by starting again. `feint.transcript` states which
    queries count as the recorded ones.
    """

    def __init__(
        self,
        send: Callable[[Query], Answer],
        *,
        budget: int,
        client: str = "anonymous",
        batch_size: int = 256,
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
        self._clock = max(self._clock, time.time()) + seconds
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
                x_answered, p = self._answer(batch)
            except (OverBudget, RateLimited) as error:  # the service's own limits: ask for less until nothing is had
                size //= 2
                refusal = None if size else error
            except TooLarge:
                if len(batch) == 1:
                    raise
                size = len(batch) // 2
            except Refused as error:
                refusal = error
            else:
                self.transcript.record(x_answered, p)
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
        """Return the first rows of `x` with their answers: recorded ones, or new ones, waiting and working as told."""
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
                stamp = hashcash.solve(demand.puzzle)
            except RateLimited as demand:
                if self.waited + demand.retry_after > self._patience or demand.retry_after == math.inf:
                    raise
                self.wait(demand.retry_after)

    def _query(self, x: Tensor, stamp: str = "") -> Query:
        return Query(x, self._account, stamp, max(self._clock, time.time()))


def account(client: str, number: int) -> str:
    """The name under which the attacker `client` asks from his account of this number."""
    return f"{client}-{number}" if number else client


class OracleWrapper:
    """An oracle with another one behind it: what a lens or a tactic does not change goes through as it is."""

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
    """The answers `p` if they are complete; else the refusal is raised."""
    if refusal is not None:
        raise refusal
    return p


def concatenate(answers: Sequence[Tensor]) -> Tensor:
    """Answers (n, K) that came in parts, as one tensor; (0, 0) where none came."""
    return torch.cat([p for p in answers if len(p)] or [torch.empty(0, 0)])
