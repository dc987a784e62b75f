"""The one way from a query to an answer.

query ─▶ access ─▶ inputs ─▶ model ─▶ outputs ─▶ answer
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from feint.defense import Defense, Ladder
from feint.errors import BadInput
from feint.fitting import FitContext
from feint.ledger import Account, Ledger
from feint.oracle import CountingOracle, Oracle
from feint.pipeline import Pipeline
from feint.query import Answer, Query
from feint.transcript import Transcript
from feint.victims import CachedForward, predict

__all__ = ["Defense", "Ladder", "Service", "SuspectedDefense"]


class Service(Pipeline[Query]):
    """Victim behind a defense. The model, from inputs in [0, 1] to logits, is put in evaluation mode."""

    def __init__(
        self, model: nn.Module, defense: Defense | Ladder | None = None, *, ledger: Ledger | None = None
    ) -> None:
        self.model = model.eval()
        self.defense = defense or Defense()
        self.ledger = ledger or Ledger()
        self._model = CachedForward(self.model)
        self.line = self.defense.bind(self._model, self.ledger)

    def __call__(self, query: Query) -> Answer:
        """Return the answer to a query.

        Raises:
            Refused: By an access rule.
            BadInput: Where a step fails.
        """
        account = self.ledger[query.client]
        self.admit(query, account)
        return account.write(query, self.answer(query, self.compute(query), account))

    def admit(self, query: Query, account: Account) -> None:
        """Apply everybody's access rules: those of a plain defense, or those of the ladder."""
        for rule in self.line.access:
            rule.admit(query, account)

    def compute(self, query: Query) -> CachedForward:
        """Return the model for one query: it runs when it is first needed, and once for the same inputs."""
        self._model.clear()
        return self._model

    @torch.enable_grad()  # an attack's no_grad() must not switch a defense off
    def answer(self, query: Query, computed: CachedForward, account: Account) -> Answer:
        """Return the defended answer: evidence, the rung and its rules, inputs, model, outputs."""
        defense = self.line.rung(query, computed, account)
        for rule in defense.access if defense is not self.line else ():  # a plain defense's rules are everybody's
            rule.admit(query, account)
        x = query.x
        for perturb in defense.inputs:
            x = perturb(x, self.model)
        p = predict(computed, x)
        for perturb in defense.outputs:
            p = perturb(p, x)
        return Answer(p.detach())

    def __reduce__(self) -> tuple[type, tuple[nn.Module, Defense | Ladder]]:
        """A pickle carries model and defense: what is remembered of clients stays where they ask."""
        return Service, (self.model, self.defense)

    def oracle(self, *, client: str, budget: int, past: Transcript | None = None) -> Oracle:
        """What an attacker who is `client` holds of this service, for `budget` queries, going on from the `past`."""
        return CountingOracle(
            lambda query: self(query), budget=budget, client=client, past=past
        )  # nothing leads from it here


@dataclass(frozen=True)
class SuspectedDefense:
    """A defense that an attacker suspects, for him to run on models of his own: what a lens holds of it.

    The parts that learn are fitted to his model and his inputs: he knows the method and its numbers. With `leaked` they
    are left as they are: what the owner's have learned is known too. Access rules play no part.
    """

    defense: Defense
    leaked: bool = False

    def on(self, context: FitContext) -> "SimulatedService":
        """Put the defense before the context's model; parts that learn are fitted in this context."""
        defense = replace(self.defense, access=())
        if not self.leaked:
            defense = defense.fit_from(context)
        return SimulatedService(context.victim, defense)


class SimulatedService:
    """A service that its attacker runs himself: he sees what a step makes of any answer."""

    def __init__(self, model: nn.Module, defense: Defense) -> None:
        self._service = Service(model, defense)
        self._line = defense.bind(model, Ledger())

    def answer(self, x: Tensor) -> Tensor:
        """The defended answers (N, K) to the inputs `x` (N, …)."""
        return torch.cat([self._service(Query(batch)).p for batch in x.split(250)])

    def perturb(self, p: Tensor, x: Tensor) -> Tensor:
        """What the output defenses make of the clean answers `p` (N, K) to `x` (N, …). Raises `BadInput` where there
        are input defenses, whose answers no clean answer tells."""
        if self._line.inputs:
            raise BadInput("an input defense", "output defenses alone", "look through Recovered instead")
        for step in self._line.outputs:
            p = step(p, x)
        return p
