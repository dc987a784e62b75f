"""The line: the one way from a query to an answer.

query ─▶ access ─▶ inputs ─▶ model ─▶ outputs ─▶ answer
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor, nn

from feint.ledger import Account, Ledger
from feint.oracle import Meter, Oracle, Transcript
from feint.query import Answer, Query
from feint.victims import predict


class Rule(Protocol):
    """An access rule: it lets a query pass, or raises `Refused`."""

    def admit(self, query: Query, account: Account) -> None: ...


InputDefense = Callable[[Tensor, nn.Module], Tensor]  # (x, model) -> x
OutputDefense = Callable[[Tensor, Tensor], Tensor]  # (p, x) -> p


@dataclass(frozen=True)
class Defense:
    """A recipe: what stands on the line before and after the model. `Defense()` is no defense."""

    access: Sequence[Rule] = ()
    inputs: Sequence[InputDefense] = ()
    outputs: Sequence[OutputDefense] = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # tuples, so that a recipe given as lists is frozen as well
            object.__setattr__(self, field.name, tuple(getattr(self, field.name)))


class Service:
    """A victim behind a defense. The model, from inputs in [0, 1] to logits, is put in evaluation mode."""

    def __init__(self, model: nn.Module, defense: Defense | None = None, *, ledger: Ledger | None = None) -> None:
        self.model = model.eval()
        self.defense = defense or Defense()
        self.ledger = ledger or Ledger()

    @torch.enable_grad()  # an attack's no_grad() must not switch a defense off
    def __call__(self, query: Query) -> Answer:
        """Answer a query, or raise: `Refused` by an access rule, `BadInput` where a step fails."""
        account = self.ledger[query.client]
        for rule in self.defense.access:
            rule.admit(query, account)
        x = query.x.detach()
        for perturb in self.defense.inputs:
            x = perturb(x, self.model)
        p = predict(self.model, x)
        for perturb in self.defense.outputs:
            p = perturb(p, x)
        return account.write(query, Answer(p.detach()))

    def oracle(self, *, client: str, budget: int, past: Transcript | None = None) -> Oracle:
        """What an attacker who is `client` holds of this service, for `budget` queries, going on from the `past`."""
        return Meter(lambda x: self(Query(x, client)).p, budget=budget, past=past)
