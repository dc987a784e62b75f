"""Pipelines as an endpoint serves them."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.record import RequestRecord
from feint.gateway.transaction import Transaction
from feint.ledger import Account
from feint.pipeline import Pipeline


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


@runtime_checkable
class ComputesEach(Protocol):
    """Pipeline that computes several queries together, which costs little more than one."""

    def together(self, query: ArrayQuery) -> bool:
        """Return whether a query is computed at once; otherwise it is computed alone, as others would wait for it."""
        ...

    def compute_each(self, requests: Sequence[tuple[ArrayQuery, Transaction]]) -> Sequence[Any]:
        """Return of each query what `compute` returns, or its error."""
        ...
