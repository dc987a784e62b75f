"""What may stand on the line: the types of its steps, which the rooms fill and the service puts in a row."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from feint.ledger import Account, Ledger
from feint.query import Query


@runtime_checkable
class Rule(Protocol):
    """An access rule: it lets a query pass, or raises `Refused`."""

    def admit(self, query: Query, account: Account) -> None: ...


class Detector(Protocol):
    """It looks at a query and the model's undefended logits `z` (N, K), and writes what it remembers to the account.

    The evidence that it returns is the client's so far, 1 where the detector would accuse at its own level.
    """

    def observe(self, query: Query, z: Tensor, account: Account) -> float: ...


InputDefense = Callable[[Tensor, nn.Module], Tensor]  # (x, model) -> x
OutputDefense = Callable[[Tensor, Tensor], Tensor]  # (p, x) -> p


@runtime_checkable
class Placed(Protocol):
    """An output defense that leans on the model or the ledger: a service places it on its line when it is made."""

    def placed(self, model: nn.Module, ledger: Ledger) -> OutputDefense: ...


def place(step: OutputDefense, model: nn.Module, ledger: Ledger) -> OutputDefense:
    """`step` on the line of `model` and `ledger`; as it is, where it leans on neither."""
    return step.placed(model, ledger) if isinstance(step, Placed) else step
