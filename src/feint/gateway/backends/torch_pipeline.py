"""Pipeline of the library's own service in a worker thread, for models and defenses that no graph can hold."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from feint.client.json_transport import waiting_at_most
from feint.defense import Defense, Ladder, Pooled
from feint.defenses.access.detector import EProcessDetector
from feint.defenses.access.e_process import EProcess
from feint.errors import CallLimit, Failed, Refused, Unreachable
from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.record import RequestRecord
from feint.gateway.transaction import Transaction
from feint.ledger import Account, Ledger
from feint.pipeline import Pipeline
from feint.query import Query
from feint.service import Service
from feint.victims import CachedForward, predict

T = TypeVar("T")
DEMANDED = 5.0  # seconds for which a request waits, and is repeated, where an API fails or demands it (Retry-After)


class SingleAccountLedger(Ledger):
    """Ledger of one account, and of the account that it shares."""

    def __init__(self, account: Account) -> None:
        self.shared, self._account = account.shared, account

    def __getitem__(self, client: str) -> Account:
        """Return the one account, whoever the client is."""
        return self._account


class ServedForward(CachedForward):
    """Model behind a gateway: where an API refuses the gateway, or may not be called again, no client is refused.

    An API that fails or asks for patience keeps the one thread, and so all clients: for `DEMANDED` seconds a request at
    most, beside the time-out of a call. Requests that wait behind one that fails then fail with it, and not each in its
    turn.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._since = time.monotonic()

    def forward(self, x: Tensor) -> Tensor:
        try:
            with waiting_at_most(DEMANDED, since=self._since):
                return super().forward(x)
        except (Refused, CallLimit) as error:
            raise Unreachable(*error.args[:3]) from error


class BoundQuery(NamedTuple):
    """A query and its model, which runs once, however often the ledger reports a conflict."""

    query: Query
    model: CachedForward


class TorchPipeline(Pipeline[ArrayQuery]):
    """Pipeline of a `Service` whose ledger is the transaction of each request.

    One thread runs it: torch is parallel within.

    Args:
        service: Model and defense.
        access: Rules before those of the service.
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

    @property
    def detectors(self) -> tuple[EProcess, ...]:
        """E-processes of the ladder."""
        tests = self.defense.detectors if isinstance(self.defense, Ladder) else ()
        return tuple(test.martingale() for test in tests if isinstance(test, EProcessDetector))

    @property
    def campaign(self) -> Pooled | None:
        """Evidence over many accounts, None for none."""
        return self.defense.campaign if isinstance(self.defense, Ladder) else None

    def admit(self, query: ArrayQuery, account: Account) -> None:
        """Apply the rules before those of the service, which `answer` applies first, to the query as a tensor."""
        for rule in self._access:
            rule.admit(query, account)

    async def compute(self, query: ArrayQuery, account: Transaction | None = None) -> BoundQuery:
        """Return the query as the service takes it, or raise `BadInput`; the model runs when access is granted."""
        x = torch.from_numpy(query.x)
        return BoundQuery(Query(x, client=query.client, stamp=query.stamp, time=query.time), ServedForward(self.model))

    async def answer(
        self,
        query: ArrayQuery,
        computed: BoundQuery,
        account: Account,
        record: RequestRecord | None = None,
        *,
        shadow: bool = False,
    ) -> Array:
        """Return the service's answer."""
        record = record or RequestRecord("", query.client, len(query), query.time)
        try:
            return await self._in_thread(lambda: self._answer(computed, account, record, shadow=shadow))
        finally:
            record.evidence, record.rung = account.total("evidence"), int(account.total("rung"))

    def _answer(self, bound: BoundQuery, account: Account, record: RequestRecord, *, shadow: bool) -> Array:
        defense = replace(self.defense, shadow=shadow) if isinstance(self.defense, Ladder) else self.defense
        service = Service(bound.model, defense, ledger=SingleAccountLedger(account))
        service.admit(bound.query, account)
        computed = service.compute(bound.query)
        parts = service.line.parts(bound.query, computed, account)
        record.applied = parts[-1].rung
        if isinstance(defense, Ladder) and defense.campaign is not None:
            record.campaign = defense.campaign.alarmed(bound.query, account)
        answer = service.defend(parts, bound.query, computed, account)
        if not any(rung.inputs for rung in rungs(self.defense)) and len(bound.query):
            undefended = predict(bound.model, bound.query.x)
            record.moved = (answer.p - undefended).abs().sum(-1).mean().item()
        return answer.p.numpy()

    async def strongest(self, query: ArrayQuery, computed: BoundQuery) -> Array:
        """Return the answer by the inputs and outputs of the safest rung."""
        chosen = safest(self.defense)
        if chosen is None:
            raise Failed("a ledger that is lost, and no output defense", "one of the two", "try again later")
        bare = Service(computed.model, replace(rungs(self.defense)[chosen], access=()))
        return await self._in_thread(lambda: bare(computed.query).p.numpy())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def close(self) -> None:
        """Let the thread go, when its last request is done."""
        self._worker.shutdown(wait=False)


def rungs(defense: Defense | Ladder) -> tuple[Defense, ...]:
    """Return the defenses from gentle to harsh; a plain one is a ladder of one rung."""
    return tuple(defense.rungs) if isinstance(defense, Ladder) else (defense,)


def safest(defense: Defense | Ladder) -> int | None:
    """Return the last rung that changes answers, if any does."""
    return max((i for i, rung in enumerate(rungs(defense)) if rung.inputs or rung.outputs), default=None)
