"""Request handling of one model, for HTTP and gRPC alike.

query ─▶ access ─▶ model ─▶ evidence, rung ─▶ outputs ─▶ ledger ─▶ answer
"""

import asyncio
import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from weakref import WeakValueDictionary

from feint.errors import Failed, FeintError, Refused, StoreLost, TimedOut
from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.error_responses import outcome, reason
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.pending_request import THIS_SIDE, PendingRequest
from feint.gateway.record import Observer, RequestRecord, Stopwatch
from feint.gateway.request_context import ClientDisconnect
from feint.gateway.served_pipeline import ComputesEach, ServedPipeline
from feint.gateway.turns import Late, TurnQueue, in_time
from feint.gateway.validation import check_probabilities
from feint.openinference.json_codec import DecodedRequest
from feint.openinference.model_spec import ModelSpec

FACTS = "mode", "model", "rules", "keys", "limits", "ledger"  # in which processes that use one ledger may differ
ATTEMPTS = 50  # after the first conflict a client's requests take turns until they are sent to the store
GONE = "ClientGone"  # reason of a record


class ModelEndpoint:
    """A model behind its pipeline and its ledger.

    Requests that come in one turn of the event loop go through the line together, where the pipeline can compute them
    together: one run of the model, one transaction of the store. One that conflicts is repeated by itself.

    A client who goes away before the model is asked is not charged. Once it is asked, the request is decided whether
    anybody waits for the answer or not: charge and evidence stay, or hanging up would buy computation without end. So
    no server cancels what nobody waits for; it says that the client has gone (`RequestContext.has_gone`).

    Args:
        spec: Model as clients see it.
        pipeline: Defended model.
        session: Ledger.
        record: Observer of what became of each request.
        shadow: Whether everyone stays on the first rung.
        tenants: Tenants whose clients may ask, none for all.
        open_when_lost: Whether clients are answered by the strongest output defense alone where the ledger's store is
            lost. Otherwise nobody is answered then.

    Attributes:
        replicas_differ: In which of `FACTS` another process that uses the ledger differs.
        active: Number of requests under way.
    """

    def __init__(
        self,
        spec: ModelSpec,
        pipeline: ServedPipeline,
        session: LedgerSession,
        *,
        observer: Observer = lambda record: None,
        shadow: bool = False,
        tenants: Sequence[str] = (),
        open_when_lost: bool = False,
    ) -> None:
        self.spec, self.pipeline, self.session, self.observer = spec, pipeline, session, observer
        self.shadow, self.open_when_lost, self.ready, self.active = shadow, open_when_lost, True, 0
        self.tenants = tenants
        self.replicas_differ: Sequence[str] = ()
        self._each = pipeline if isinstance(pipeline, ComputesEach) else None
        self._queue = TurnQueue(partial(self._attempt, each=self._each))
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Count a request in `active` until the block ends."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def query(self, request: DecodedRequest, client: str, group: str) -> ArrayQuery:
        """Return the query of a request, which comes at the ledger's time."""
        return ArrayQuery(request.x, client, request.stamp, self.session.now(), group)

    async def answer(self, query: ArrayQuery, *, seconds: float | None = None) -> Array:
        """Return the defended answer (N, K) float32.

        Args:
            query: The query.
            seconds: Time limit, None for none.

        Raises:
            FeintError: `Refused` by an access rule, `Unreachable`, `StoreLost` or `TimedOut`; nothing is answered then.
            Failed: For any other failure.
            ClientDisconnect: When the client has gone before the model was asked, so that nothing is charged.
            CancelledError: Likewise, or when the server ends.
        """
        record = RequestRecord(self.spec.name, query.client, len(query), query.time)
        until = math.inf if seconds is None else asyncio.get_running_loop().time() + seconds
        request = PendingRequest(query, record, until)
        try:
            q = await self._answer(request)
            record.outcome, record.reason = ("cancelled", GONE) if request.has_gone else ("answered", record.reason)
            return q
        except FeintError as error:
            record.outcome, record.reason = outcome(error), reason(error)
            raise
        except Late as error:
            late = TimedOut(f"no answer in {seconds:g} seconds", "one", "try again later")
            record.outcome, record.reason = outcome(late), reason(late)
            raise late from error
        except (ClientDisconnect, asyncio.CancelledError):
            request.cancelled = True
            record.outcome, record.reason = "cancelled", GONE
            raise
        except Exception as error:  # of `strongest`, or of a store that breaks its contract
            record.outcome, record.reason = "failed", "Failed"
            raise Failed(*THIS_SIDE) from error
        finally:
            self.observer(record)

    async def _answer(self, request: PendingRequest) -> Array:
        record = request.record
        if self._each is not None and self._each.together(request.query):
            await self._queue(request)
        else:
            await self._attempt([request], None)
        while not request.decided:
            record.conflicts += 1
            if record.conflicts == ATTEMPTS:
                raise StoreLost("an account that changes all the time", "a moment without changes", "try again")
            await in_time(request.until, self._repeat(request))
        if request.lost is not None:
            return await in_time(request.until, self._without_ledger(request, request.lost))
        if request.error is not None:
            raise request.end()
        assert request.answer is not None
        return request.answer

    async def _attempt(self, requests: Sequence[PendingRequest], each: ComputesEach | None) -> None:
        """Take requests through the line together, until the first one's time is over.

        Args:
            requests: The requests.
            each: Pipeline that computes them together; they are then all that come in this turn. None for one alone.
        """
        await in_time(min(request.until for request in requests), self._first(requests, each))

    async def _first(self, requests: Sequence[PendingRequest], each: ComputesEach | None) -> None:
        with Stopwatch([request.record for request in requests]) as stages:
            await self._decide(requests, stages, each)
            await self._commit(requests, complete=each is not None)

    async def _repeat(self, request: PendingRequest) -> None:
        """Take a request through the line again, in the turn of its client."""
        with Stopwatch([request.record]) as stages:
            async with self._turn(request.query):
                await self._decide([request], stages)
            await self._commit([request])  # sent before the client's next request begins, which builds on it

    async def _decide(
        self, requests: Sequence[PendingRequest], stages: Stopwatch, each: ComputesEach | None = None
    ) -> None:
        """Decide what is answered, and stage what is committed."""
        stages.begin("access")
        for request in requests:
            self._admit(request)
        if due := [request for request in requests if request.error is None and request.computed is None]:
            stages.begin("model")
            await self._compute(due, each)
        self.session.refresh([request.transaction for request in requests if request.counts])
        stages.begin("outputs")
        for request in requests:
            await self._defend(request)
        stages.begin("ledger")

    def _admit(self, request: PendingRequest) -> None:
        """Apply the rules that come before the model."""
        query = request.query
        request.answer = request.error = request.staged = None
        try:
            if request.computed is None and request.has_gone:
                raise ClientDisconnect
            request.transaction = self.session.begin(query.client, query.group)
            self.pipeline.admit(query, request.transaction)
        except Exception as error:
            request.fail(error)

    async def _compute(self, requests: Sequence[PendingRequest], each: ComputesEach | None) -> None:
        """Compute the undefended output of each request."""
        results = ()
        if each is not None:
            with contextlib.suppress(Exception):  # of one of them: each gets its own output, or its own error
                results = each.compute_each([(request.query, request.transaction) for request in requests])
        for i, request in enumerate(requests):
            try:
                result = results[i] if results else await self.pipeline.compute(request.query, request.transaction)
                if isinstance(result, Exception):
                    raise result
                request.computed = result
            except Exception as error:
                request.fail(error)

    async def _defend(self, request: PendingRequest) -> None:
        """Answer a request that was computed, and stage what it changes of its account."""
        if not request.counts:
            return
        try:
            if self.session.outdated(request.transaction):  # by a request of the same client before it in this turn
                self._admit(request)
            if request.error is None and request.computed is not None:
                await self._answer_computed(request)
            if request.answer is not None or isinstance(request.error, Refused):  # what was charged until then stays
                request.staged = self.session.stage(request.transaction)
        except Exception as error:
            request.fail(error)

    async def _answer_computed(self, request: PendingRequest) -> None:
        query, account = request.query, request.transaction
        try:
            q = await self.pipeline.answer(query, request.computed, account, request.record, shadow=self.shadow)
        except Refused as error:
            request.error = error
            return
        q = check_probabilities(q, len(query), self.spec.classes)
        account.add("queries", len(query))  # the same entry as a service makes
        request.answer = q

    async def _commit(self, requests: Sequence[PendingRequest], *, complete: bool = False) -> None:
        """Commit what is staged; nothing is answered before. They are `complete` where no others come in this turn."""
        staged = [(request, request.staged) for request in requests if request.staged is not None]
        if not staged:
            return
        results: Sequence[bool | Exception]
        try:
            results = await self.session.send([changes for _, changes in staged], complete=complete)
        except Exception as error:
            results = [error] * len(staged)
        for (request, _), result in zip(staged, results, strict=True):
            if isinstance(result, Exception):
                request.lost = result
            else:
                request.agreed = result

    async def _without_ledger(self, request: PendingRequest, lost: Exception) -> Array:
        """Return the strongest answer where the ledger is lost, if the settings allow it."""
        if not isinstance(lost, StoreLost) or not self.open_when_lost:
            raise lost
        if request.error is not None:  # refusals by the last known state of the ledger stand
            raise request.end()
        request.record.reason = reason(lost)
        q = await self.pipeline.strongest(request.query, request.computed)
        return check_probabilities(q, len(request.query), self.spec.classes)

    def _turn(self, query: ArrayQuery) -> asyncio.Lock:
        """Return the lock under which a client's, or a group's, requests run again; no group has that of a client."""
        return self._locks.setdefault((query.group, query.group or query.client), asyncio.Lock())
