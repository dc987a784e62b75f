"""The library's own line in a worker thread: for models and defenses that no graph can hold."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch

from feint.defense import Defense, Ladder
from feint.errors import Failed
from feint.gateway.asked import Array, Asked
from feint.gateway.decision import Decision
from feint.gateway.drafts import Draft
from feint.ledger import Account, Ledger
from feint.query import Query
from feint.service import Service
from feint.victims import CachedForward, predict

T = TypeVar("T")


class Only(Ledger):
    """A ledger of one account, and of what that shares."""

    def __init__(self, account: Account) -> None:
        self.shared, self._account = account.shared, account

    def __getitem__(self, client: str) -> Account:
        return self._account


class Posed(NamedTuple):
    """A query, and the model as it answers this one: it computes it once, however often the ledger disagrees."""

    query: Query
    model: CachedForward


class TorchLine:
    """A `Service` whose ledger is the draft of each request: it admits, computes and perturbs, and nothing here does.

    One thread runs it: torch is parallel within.
    """

    def __init__(self, service: Service, access: Sequence[Any] = ()) -> None:
        self._access = access
        self.model, self.defense = service.model, service.defense
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="feint-torch")

    @property
    def rules(self) -> tuple[Any, ...]:
        """Everybody's access rules, and those of each rung."""
        everybody = self.defense.access if isinstance(self.defense, Ladder) else ()
        return (*self._access, *everybody, *(rule for rung in rungs(self.defense) for rule in rung.access))

    def admit(self, asked: Asked, account: Draft) -> None:
        """Rules beside those of the service, whose own line begins with them. Raises `Refused`."""
        for rule in self._access:
            rule.admit(asked, account)

    async def compute(self, asked: Asked) -> Posed:
        """The query as the service takes it; the model runs when access is granted. Raises `BadInput`."""
        x = torch.from_numpy(asked.x)
        return Posed(Query(x, client=asked.client, stamp=asked.stamp, time=asked.time), CachedForward(self.model))

    async def answer(self, asked: Asked, computed: Posed, account: Draft, decision: Decision, *, shadow: bool) -> Array:
        """The service's answer. Raises `Refused`."""
        try:
            return await self._apart(lambda: self._line(computed, account, decision, shadow=shadow))
        finally:
            decision.evidence, decision.rung = account.total("evidence"), int(account.total("rung"))
            decision.applied = 0 if shadow else decision.rung

    def _line(self, posed: Posed, account: Draft, decision: Decision, *, shadow: bool) -> Array:
        defense = replace(self.defense, shadow=shadow) if isinstance(self.defense, Ladder) else self.defense
        answer = Service(posed.model, defense, ledger=Only(account)).answer(posed.query, account)
        if not any(rung.inputs for rung in rungs(self.defense)) and len(posed.query):
            undefended = predict(posed.model, posed.query.x)
            decision.moved = (answer.p - undefended).abs().sum(-1).mean().item()
        return answer.p.numpy()

    async def strongest(self, asked: Asked, computed: Posed) -> Array:
        """What the safest rung's inputs and outputs leave. Raises `Failed` where it has none."""
        chosen = safest(self.defense)
        if chosen is None:
            raise Failed("a ledger that is lost, and no output defense", "one of the two", "try again later")
        bare = Service(computed.model, replace(rungs(self.defense)[chosen], access=()))
        return await self._apart(lambda: bare(computed.query).p.numpy())

    async def _apart(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def close(self) -> None:
        """Let the thread go, when its last request is done."""
        self._worker.shutdown(wait=False)


def rungs(defense: Defense | Ladder) -> tuple[Defense, ...]:
    """The defenses from gentle to harsh; a plain one is a ladder of one rung."""
    return tuple(defense.rungs) if isinstance(defense, Ladder) else (defense,)


def safest(defense: Defense | Ladder) -> int | None:
    """The last rung that changes answers, if any does."""
    return max((i for i, rung in enumerate(rungs(defense)) if rung.inputs or rung.outputs), default=None)
