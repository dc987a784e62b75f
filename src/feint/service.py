"""The line: the one way from a query to an answer.

query ─▶ access ─▶ inputs ─▶ model ─▶ outputs ─▶ answer
"""

import torch
from torch import nn

from feint.ledger import Ledger
from feint.line import Defense, Ladder
from feint.oracle import Meter, Oracle
from feint.query import Answer, Query
from feint.transcript import Transcript
from feint.victims import Once, predict

__all__ = ["Defense", "Ladder", "Service"]


class Service:
    """A victim behind a defense. The model, from inputs in [0, 1] to logits, is put in evaluation mode."""

    def __init__(
        self, model: nn.Module, defense: Defense | Ladder | None = None, *, ledger: Ledger | None = None
    ) -> None:
        self.model = model.eval()
        self.defense = defense or Defense()
        self.ledger = ledger or Ledger()
        self._model = Once(self.model)
        self.line = self.defense.placed(self._model, self.ledger)

    @torch.enable_grad()  # an attack's no_grad() must not switch a defense off
    def __call__(self, query: Query) -> Answer:
        """Answer a query, or raise: `Refused` by an access rule, `BadInput` where a step fails."""
        self._model.forget()
        account = self.ledger[query.client]
        defense = self.line.rung(query, self._model, account)
        for rule in defense.access:
            rule.admit(query, account)
        x = query.x
        for perturb in defense.inputs:
            x = perturb(x, self.model)
        p = predict(self._model, x)
        for perturb in defense.outputs:
            p = perturb(p, x)
        return account.write(query, Answer(p.detach()))

    def oracle(self, *, client: str, budget: int, past: Transcript | None = None) -> Oracle:
        """What an attacker who is `client` holds of this service, for `budget` queries, going on from the `past`."""
        return Meter(lambda query: self(query), budget=budget, client=client, past=past)  # nothing leads from it here
