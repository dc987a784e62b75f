"""The pipeline from a query to a defended answer, as protocols: what everything that answers queries has in common.

query ─▶ admit ─▶ compute ─▶ answer

`feint.Service` is one implementation. The gateway's `OnnxPipeline` and `TorchPipeline` are the others. To the same
clients they give the same answers, refusals and evidence. Nothing here needs torch.
"""

from abc import abstractmethod
from typing import Any, Protocol, TypeVar

import numpy as np

from feint.ledger import Account


class QueryLike(Protocol):
    """What access rules and detectors read of a query: `feint.Query` is one, and so is the gateway's `ArrayQuery`."""

    @property
    def client(self) -> str:
        """Name of the client's account."""
        ...

    @property
    def stamp(self) -> str:
        """Proof of work; "" for none."""
        ...

    @property
    def time(self) -> float:
        """When the query came, in seconds since the epoch."""
        ...

    @property
    def pixels(self) -> np.ndarray:
        """The inputs (N, …) float32."""
        ...

    def __len__(self) -> int:
        """The number of inputs, each of which is a query."""
        ...


Q = TypeVar("Q", bound=QueryLike, contravariant=True)


class Pipeline(Protocol[Q]):
    """Defended model, in three steps.

    `compute` and `answer` return their result, or an awaitable of it where the model runs in a thread or elsewhere.
    Whoever runs the steps enters the answered queries in the account, and drops the answer where that fails.
    """

    @abstractmethod
    def admit(self, query: Q, account: Account) -> None:
        """Apply everybody's access rules, before the model runs.

        Raises:
            Refused: By a rule.
        """
        ...

    @abstractmethod
    def compute(self, query: Q) -> Any:
        """Compute the undefended output, which is never sent to a client."""
        ...

    @abstractmethod
    def answer(self, query: Q, computed: Any, account: Account) -> Any:
        """Return the defended answer: update the evidence, then apply the rung's rules and its output defenses.

        Raises:
            Refused: By a rule of the client's rung.
        """
        ...
