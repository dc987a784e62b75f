"""The line on the wire: the one way from what was asked over HTTP or gRPC to an answer.

asked ─▶ access ─▶ model ─▶ evidence, rung ─▶ outputs ─▶ ledger ─▶ answer
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakValueDictionary

from feint.errors import Failed, FeintError, Refused, StoreLost, Unreachable
from feint.gateway.asked import Array, Asked
from feint.gateway.decision import Decision, Record
from feint.gateway.drafts import Draft, Drafts
from feint.gateway.simplex import probabilities

ATTEMPTS = 50  # after the first conflict a client's requests take turns here: only other replicas can still interfere


@dataclass(frozen=True)
class About:
    """A model as clients see it: one input (N, `shape`…) FP32 in [0, 1], one output (N, `classes`) FP32."""

    name: str
    input: str
    shape: tuple[int, ...]
    output: str
    classes: int
    version: str = "1"


class Line(Protocol):
    """A defended model. What `compute` returns never leaves the desk; `answer` makes of it what may."""

    def admit(self, asked: Asked, account: Draft) -> None:
        """Everybody's access rules, before the model runs. Raises `Refused`."""
        ...

    async def compute(self, asked: Asked) -> Any:
        """Run the model. Raises `FeintError` where it, or the server that holds it, fails."""
        ...

    async def answer(self, asked: Asked, computed: Any, account: Draft, decision: Decision, *, shadow: bool) -> Array:
        """The defended answer (N, K): evidence, the rung, its rules and its outputs. Raises `Refused`."""
        ...

    async def strongest(self, asked: Asked, computed: Any) -> Array:
        """The harshest answer that asks no account, for when the ledger is lost. Raises `Refused`."""
        ...


class Desk:
    """One model behind its line and its ledger. `open_when_lost` answers with the strongest output defense alone where
    the ledger's store is lost; otherwise nobody is answered then."""

    def __init__(
        self,
        about: About,
        line: Line,
        drafts: Drafts,
        *,
        record: Record = lambda decision: None,
        shadow: bool = False,
        open_when_lost: bool = False,
    ) -> None:
        self.about, self.line, self.drafts, self.record = about, line, drafts, record
        self.shadow, self.open_when_lost = shadow, open_when_lost
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def answer(self, asked: Asked) -> Array:
        """The defended answer (N, K) float32. Raises `Refused`; anything that fails on the way is `Failed`,
        `Unreachable` or `StoreLost`, and nothing is answered."""
        decision = Decision(self.about.name, asked.client, len(asked), asked.time)
        try:
            q = probabilities(await self._decide(asked, decision), len(asked), self.about.classes)
            decision.outcome = "answered"
            return q
        except FeintError as error:
            decision.outcome = "refused" if isinstance(error, Refused) else "failed"
            decision.reason = type(error).__name__
            raise
        except asyncio.CancelledError:  # the gateway's own limit of time, or a client that hung up
            decision.outcome, decision.reason = "failed", "TimedOut"
            raise
        except Exception as error:  # of `strongest`, or of a store that breaks its word
            decision.outcome, decision.reason = "failed", "Failed"
            raise Failed("a failure on the line", "an answer", "try again, or tell the operator") from error
        finally:
            self.record(decision)

    async def _decide(self, asked: Asked, decision: Decision) -> Array | None:
        computed = None
        async with contextlib.AsyncExitStack() as turn:
            for attempt in range(ATTEMPTS):
                draft, q, ended = self.drafts.draft(asked.client), None, None
                try:
                    with _Timed(decision, "access"):
                        self.line.admit(asked, draft)
                    if computed is None:
                        with _Timed(decision, "model"):
                            computed = await self.line.compute(asked)
                    with _Timed(decision, "outputs"):
                        q = await self.line.answer(asked, computed, draft, decision, shadow=self.shadow)
                    draft.add("queries", len(asked))  # the same entry as a service makes
                except (Refused, Unreachable) as error:  # what was charged or found out until then is kept
                    ended = error
                except Exception as error:  # nothing else is the client's to read: it may name files or hosts
                    ended = Failed("a failure on the line", "an answer", "try again, or tell the operator")
                    ended.__cause__ = error
                try:
                    with _Timed(decision, "ledger"):
                        agreed = await self.drafts.commit(draft)
                except StoreLost:
                    if not self.open_when_lost:
                        raise
                    if ended is not None:  # who was refused by what was last known of it is refused now
                        raise ended from None
                    return await self.line.strongest(asked, computed)
                if agreed:
                    if ended is not None:
                        raise ended
                    decision.asked = draft.total("queries")
                    return q
                decision.conflicts = attempt + 1
                if attempt == 0:
                    await turn.enter_async_context(self._turns.setdefault(asked.client, asyncio.Lock()))
        raise StoreLost("an account that changes all the time", "a moment without changes", "try again")


class _Timed:
    """Adds the seconds that its block takes to a stage of the decision."""

    __slots__ = ("_decision", "_stage", "_start")

    def __init__(self, decision: Decision, stage: str) -> None:
        self._decision, self._stage = decision, stage

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        seconds = self._decision.seconds
        seconds[self._stage] = seconds.get(self._stage, 0.0) + time.perf_counter() - self._start
