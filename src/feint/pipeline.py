"""Protocols of the pipeline from a query to a defended answer.

query ─▶ admit ─▶ compute ─▶ answer

`feint.Service` is one implementation. The gateway's `OnnxPipeline` and `TorchPipeline` are the others. To the same
clients they give the same answers, refusals and evidence. This module needs no torch.
"""

from abc import abstractmethod
from typing import Any, Protocol, TypeVar

import numpy as np

from feint.ledger import Account


class QueryLike(Protocol):
    """Query as access rules and detectors read it: `feint.Query`, or the gateway's `ArrayQuery`."""

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
        """Time of arrival, in seconds since the epoch."""
        ...

    @property
    def values(self) -> np.ndarray:
        """Inputs (N, …) of one domain (`feint.signature`)."""
        ...

    @property
    def near(self) -> np.ndarray:
        """Perceptual codes (N,) uint64 of the inputs (`feint.signature.near`)."""
        ...

    def __len__(self) -> int:
        """Number of inputs, each of which is one query."""
        ...


Q = TypeVar("Q", bound=QueryLike, contravariant=True)


class Pipeline(Protocol[Q]):
    """Defended model, in three steps.

    `compute` and `answer` return their result, or an awaitable of it where the model runs in a thread or elsewhere.
    The caller of the steps counts the answered queries in the account, and drops the answer where that fails.
    """

    @abstractmethod
    def admit(self, query: Q, account: Account) -> None:
        """Apply the access rules for every client, before the model runs.

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
