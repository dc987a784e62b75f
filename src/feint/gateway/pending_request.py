"""A request on its way through a model's pipeline."""

import math
from dataclasses import dataclass, field
from typing import Any

from feint.errors import Failed, Refused, Unreachable
from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.ledger_session import Staged
from feint.gateway.record import RequestRecord
from feint.gateway.request_context import ClientDisconnect
from feint.gateway.transaction import Transaction

THIS_SIDE = "a failure of the pipeline", "an answer", "try again, or tell the operator"


@dataclass(slots=True)
class PendingRequest:
    """A request on its way.

    Attributes:
        query: Its query.
        record: Its record.
        until: When its time is over, by the loop's clock.
        transaction: Its account, in the present attempt.
        computed: What the pipeline has computed, which is kept after a conflict.
        answer: The answer.
        error: Why there is none. A refusal stands when what it charged is committed; nothing else is committed.
        staged: What is to be committed; None after a conflict within this process.
        agreed: Whether the store took it.
        lost: Why the store did not say so.
        cancelled: Whether whoever waited for the answer was cancelled, so that its turn goes on without it.
    """

    query: ArrayQuery
    record: RequestRecord
    until: float = math.inf
    transaction: Transaction = field(init=False)
    computed: Any = None
    answer: Array | None = None
    error: Exception | None = None
    staged: Staged | None = None
    agreed: bool = False
    lost: Exception | None = None
    cancelled: bool = False

    @property
    def has_gone(self) -> bool:
        """Whether its client has gone, so that nobody would get an answer."""
        return self.cancelled or self.record.context.has_gone()

    @property
    def decided(self) -> bool:
        """Whether it needs no further attempt."""
        return self.agreed or self.lost is not None or not self.counts

    @property
    def counts(self) -> bool:
        """Whether it is committed: what fails on this side is not charged."""
        return self.error is None or isinstance(self.error, Refused)

    def fail(self, error: Exception) -> None:
        """Note why there is no answer. Other errors than Feint's are not the client's: they may name files or hosts."""
        if not isinstance(error, Refused | Unreachable | ClientDisconnect):
            failed = Failed(*THIS_SIDE)
            failed.__cause__ = error
            error = failed
        self.error = error

    def end(self) -> Exception:
        """Return the error and forget it: raised, it holds frames that hold this request, which would hold it."""
        assert self.error is not None
        error, self.error = self.error, None
        return error
