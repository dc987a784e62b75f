"""Service: the only path from a query to an answer.

query ─▶ access ─▶ inputs ─▶ model ─▶ outputs ─▶ answer
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from feint.defense import Defense, Ladder, QueryPart, Recording
from feint.errors import BadInput, require_kind
from feint.fitting import FitContext
from feint.ledger import Account, Ledger, undone_on_failure
from feint.oracle import CountingOracle, Oracle
from feint.pipeline import Pipeline
from feint.query import Answer, Query
from feint.transcript import Transcript
from feint.victims import CachedForward, domain_of, predict

__all__ = ["Defense", "Ladder", "Service", "SuspectedDefense"]


class Service(Pipeline[Query]):
    """Victim behind a defense.

    Args:
        model: Module from inputs (N, …) to logits (N, K); it is put in evaluation mode. Where it has a `domain`, every
            query is checked by it.
        defense: Defense, or ladder of defenses; None is no defense.
        ledger: Accounts of the clients; a new ledger by default.
    """

    def __init__(
        self, model: nn.Module, defense: Defense | Ladder | None = None, *, ledger: Ledger | None = None
    ) -> None:
        require_kind(model, nn.Module, "a model", "wrap it in one, from inputs to logits")
        if not isinstance(defense, Defense | Ladder | None):
            raise BadInput(f"{defense!r:.60} as a defense", "a Defense or Ladder", "Defense(outputs=[STEP])")
        self.model = model.eval()
        self.defense = defense or Defense()
        self.ledger = ledger or Ledger()
        self.domain = domain_of(model)
        # Without the grid of the marks, differences below it cancel keyed noise, and an attacker reads gradients.
        self._model = CachedForward(self.model, quantized=self.defense.keyed)
        self.line = self.defense.bind(self._model, self.ledger)

    def __call__(self, query: Query) -> Answer:
        """Return the answer to a query.

        An access rule raises `Refused`, the domain or a step `BadInput`. A refusal's charges and evidence stay in
        the account. Any other failure leaves the accounts as they were.
        """
        account = self.ledger[query.client]
        with undone_on_failure():
            self.admit(query, account)
            return account.write(query, self.answer(query, self.compute(query), account))

    def admit(self, query: Query, account: Account) -> None:
        """Check the inputs, then apply the access rules for every client: those of a plain defense, or the ladder's."""
        if self.domain is not None:
            self.domain.check(query.values)
        for rule in self.line.access:
            rule.admit(query, account)

    def compute(self, query: Query) -> CachedForward:
        """Return the model for one query. It runs at its first call, and not again for the same inputs."""
        self._model.clear()
        return self._model

    def answer(self, query: Query, computed: CachedForward, account: Account) -> Answer:
        """Return the defended answer: evidence, then what `defend` does with each rung's part of the query."""
        return self.defend(self.line.parts(query, computed, account), query, computed, account)

    @torch.enable_grad()  # an attack's no_grad() must not switch a defense off
    def defend(self, parts: Sequence[QueryPart], query: Query, computed: CachedForward, account: Account) -> Answer:
        """Return the answer to a query in parts: the rungs' rules, then inputs, model and outputs of each."""
        for _, defense, _ in parts:
            if defense is not self.line:  # the rules of a plain defense were applied in `admit`
                for rule in defense.access:
                    rule.admit(query, account)
        answers = [self._part(part, query, computed, account) for part in parts]
        if len(parts) == 1:
            return Answer(answers[0].detach())
        p = answers[0].new_empty(len(query), answers[0].shape[1])
        for (_, _, rows), answer in zip(parts, answers, strict=True):
            p[rows] = answer
        return Answer(p.detach())

    def _part(self, part: QueryPart, query: Query, computed: CachedForward, account: Account) -> Tensor:
        """Return the defended answers to a part of a query. Without input defenses the model runs once for all."""
        _, defense, rows = part
        x = inputs = query.x if isinstance(rows, slice) else query.x[rows]  # the model was computed for the one tensor
        for perturb in defense.inputs:
            x = perturb(x, self.model)
        p = predict(computed, x) if defense.inputs else predict(computed, query.x)[rows]
        x = computed.seen(x)
        for perturb in defense.outputs:
            q = perturb(p, x)
            if isinstance(perturb, Recording):
                perturb.record(p, q, inputs, account)
            p = q
        return p

    def __reduce__(self) -> tuple[type, tuple[nn.Module, Defense | Ladder]]:
        """Pickle the model and the defense. The ledger stays in this process."""
        return Service, (self.model, self.defense)

    def oracle(self, *, client: str, budget: int, past: Transcript | None = None) -> Oracle:
        """Return the attacker's only access to this service.

        Args:
            client: Name of the attacker's account.
            budget: Number of queries that the attacker pays for; 1 query = 1 input.
            past: Transcript of the same attack, interrupted, to continue from.
        """
        # a closure, so that no attribute of the oracle leads to the service
        return CountingOracle(lambda query: self(query), budget=budget, client=client, past=past)


@dataclass(frozen=True)
class SuspectedDefense:
    """Defense that an attacker suspects, to simulate on models of their own. Lenses use it.

    Access rules are left out.

    Attributes:
        defense: The suspected method and its parameters, which the attacker knows.
        leaked: Whether the attacker also knows the owner's learned tensors. Otherwise the steps that learn are fitted
            to the attacker's model and inputs.
    """

    defense: Defense
    leaked: bool = False

    def on(self, context: FitContext) -> "SimulatedService":
        """Return the defended model of `context`; steps that learn are fitted in this context."""
        defense = replace(self.defense, access=())
        if not self.leaked:
            defense = defense.fit_from(context)
        return SimulatedService(context.victim, defense)


class SimulatedService:
    """Service that the attacker runs: the output defenses can be applied to any answer."""

    def __init__(self, model: nn.Module, defense: Defense) -> None:
        self._service = Service(model, defense)
        self._line = defense.bind(model, Ledger())

    def answer(self, x: Tensor) -> Tensor:
        """Return the defended answers (N, K) to the inputs `x` (N, …)."""
        return torch.cat([self._service(Query(batch)).p for batch in x.split(250)])

    def perturb(self, p: Tensor, x: Tensor) -> Tensor:
        """Return the clean answers `p` (N, K) to `x` (N, …) after the output defenses.

        Raises:
            BadInput: The defense perturbs inputs, so that its answers are no function of the clean ones.
        """
        if self._line.inputs:
            raise BadInput("an input defense", "output defenses alone", "look through Recovered instead")
        for step in self._line.outputs:
            p = step(p, x)
        return p
