"""Request handling of one model, for HTTP and gRPC alike.

query ─▶ access ─▶ model ─▶ evidence, rung ─▶ outputs ─▶ ledger ─▶ answer
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

from feint.errors import Failed, FeintError, Refused, StoreLost, TimedOut, Unreachable
from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.error_responses import outcome, reason
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.record import Observer, RequestRecord
from feint.gateway.transaction import Transaction
from feint.gateway.validation import check_probabilities
from feint.ledger import Account
from feint.openinference.json_codec import DecodedRequest
from feint.openinference.model_spec import ModelSpec
from feint.pipeline import Pipeline

FACTS = "mode", "model", "rules", "keys", "limits", "ledger"  # in which processes that use one ledger may differ
ATTEMPTS = 50  # after the first conflict a client's requests take turns until they are sent to the store


class ServedPipeline(Pipeline[ArrayQuery], Protocol):
    """Pipeline on an event loop, which also records what became of a request, and answers without a ledger."""

    @property
    def rules(self) -> Sequence[Any]:
        """Everybody's access rules, and those of each rung."""
        ...

    async def compute(self, query: ArrayQuery, account: Transaction | None = None) -> Any:
        """Compute the undefended output; it may hold what `answer` will store in the `account`, which is not changed.

        Raises:
            FeintError: Where the model, or the server that holds it, fails.
        """
        ...

    async def answer(
        self,
        query: ArrayQuery,
        computed: Any,
        account: Account,
        record: RequestRecord | None = None,
        *,
        shadow: bool = False,
    ) -> Array:
        """Return the defended answer (N, K), and record evidence, rung and change in the `record`.

        In `shadow` mode all is recorded, and everyone stays on the first rung.

        Raises:
            Refused: By a rule of the client's rung.
        """
        ...

    async def strongest(self, query: ArrayQuery, computed: Any) -> Array:
        """Return the answer of the strongest defense that needs no account, for when the ledger is lost.

        Raises:
            Failed: Where there is none.
        """
        ...


class ModelEndpoint:
    """A model behind its pipeline and its ledger.

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
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

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
            CancelledError: When the client has gone, or its own deadline is over.
        """
        record = RequestRecord(self.spec.name, query.client, len(query), query.time)
        try:
            q = await self._in_time(query, record, seconds)
            record.outcome = "answered"
            return q
        except FeintError as error:
            record.outcome, record.reason = outcome(error), reason(error)
            raise
        except asyncio.CancelledError:
            record.outcome, record.reason = "cancelled", "ClientGone"
            raise
        except Exception as error:  # of `strongest`, or of a store that breaks its contract
            record.outcome, record.reason = "failed", "Failed"
            raise Failed("a failure of the pipeline", "an answer", "try again, or tell the operator") from error
        finally:
            record.begin()
            self.observer(record)

    async def _in_time(self, query: ArrayQuery, record: RequestRecord, seconds: float | None) -> Array:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._decide(query, record)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimedOut(f"no answer in {seconds:g} seconds", "one", "try again later") from error

    async def _decide(self, query: ArrayQuery, record: RequestRecord) -> Array:
        computed = None
        for attempt in range(ATTEMPTS):
            async with self._turn(query) if attempt else contextlib.nullcontext():
                transaction, q, refusal = self.session.begin(query.client, query.group), None, None
                try:
                    record.begin("access")
                    self.pipeline.admit(query, transaction)
                    if computed is None:
                        record.begin("model")
                        computed = await self.pipeline.compute(query, transaction)
                    record.begin("outputs")
                    q = await self.pipeline.answer(query, computed, transaction, record, shadow=self.shadow)
                    q = check_probabilities(q, len(query), self.spec.classes)
                    transaction.add("queries", len(query))  # the same entry as a service makes
                except Refused as error:  # charges and evidence until then stay
                    refusal = error
                except Unreachable:  # here and below nothing is committed: what fails on this side is not charged
                    raise
                except Exception as error:  # nothing else is the client's to read: it may name files or hosts
                    raise Failed("a failure of the pipeline", "an answer", "try again, or tell the operator") from error
                record.begin("ledger")
                commit = self.session.commit(transaction)
                if attempt:  # it is sent before the client's next request begins, which builds on it
                    commit = asyncio.ensure_future(commit)
                    try:
                        await asyncio.sleep(0)
                    except asyncio.CancelledError:  # nobody would wait for it any more
                        commit.cancel()
                        raise
            try:
                agreed = await commit
            except StoreLost as error:
                if not self.open_when_lost:
                    raise
                if refusal is not None:  # refusals by the last known state of the ledger stand
                    raise refusal from None
                record.reason = reason(error)
                return check_probabilities(
                    await self.pipeline.strongest(query, computed), len(query), self.spec.classes
                )
            if agreed:
                if refusal is not None:
                    raise refusal
                assert q is not None
                return q
            record.conflicts = attempt + 1
            record.begin()
        raise StoreLost("an account that changes all the time", "a moment without changes", "try again")

    def _turn(self, query: ArrayQuery) -> asyncio.Lock:
        """Return the lock under which a client's, or a group's, requests run again; no group has that of a client."""
        return self._turns.setdefault((query.group, query.group or query.client), asyncio.Lock())
