"""The line: the one way from a query to an answer.

query ─▶ access ─▶ inputs ─▶ model ─▶ outputs ─▶ answer
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import nn

from feint.errors import BadRecipe
from feint.ledger import Account, Ledger
from feint.line import Detector, InputDefense, OutputDefense, Rule, place
from feint.oracle import Meter, Oracle, Transcript
from feint.query import Answer, Query
from feint.victims import Once, logits, predict


@dataclass(frozen=True)
class Defense:
    """A recipe: what stands on the line before and after the model. `Defense()` is no defense."""

    access: Sequence[Rule] = ()
    inputs: Sequence[InputDefense] = ()
    outputs: Sequence[OutputDefense] = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # tuples, so that a recipe given as lists is frozen as well
            object.__setattr__(self, field.name, tuple(getattr(self, field.name)))

    def rung(self, query: Query, model: nn.Module, account: Account) -> Self:
        """The defense that this query meets: a plain one is a ladder of one rung."""
        return self

    def placed(self, model: nn.Module, ledger: Ledger) -> Self:
        """This defense on the line of `model` and `ledger`."""
        return replace(self, outputs=[place(step, model, ledger) for step in self.outputs])


@dataclass(frozen=True)
class Ladder:
    """Defenses from gentle to harsh; the evidence against a client says on which of them it stands.

    `rungs` are tried in order: a client stands on the highest whose entry in `at` its evidence has ever reached, and
    the first one's entry is 0. Evidence is counted before the answer, a batch's all at once, so that nothing is won by
    asking in large batches. Everyone's rules, `access`, come first: what they refuse leaves no evidence. In `shadow`
    all is recorded, and everyone stays on the first rung.
    """

    detectors: Sequence[Detector]
    rungs: Sequence[Defense]
    at: Sequence[float] = (0.0, 1.0)
    access: Sequence[Rule] = ()
    shadow: bool = False

    def __post_init__(self) -> None:
        for name in ("detectors", "rungs", "at", "access"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.at) != len(self.rungs) or not self.at or self.at[0] != 0 or list(self.at) != sorted(set(self.at)):
            raise BadRecipe(
                f"{len(self.rungs)} rungs at {self.at}", "an entry for each rung, rising from 0", "change `at`"
            )

    def rung(self, query: Query, model: nn.Module, account: Account) -> Defense:
        """Let the detectors look, and find the rung for the evidence that this client has ever reached."""
        for rule in self.access:
            rule.admit(query, account)
        z = logits(model, query.x)
        for detector in self.detectors:
            account.add("evidence", 0.0, floor=detector.observe(query, z, account))
        reached = account.total("evidence")
        highest = max(i for i, entry in enumerate(self.at) if entry <= reached)
        account.add("rung", 0.0, floor=highest)
        return self.rungs[0 if self.shadow else highest]

    def placed(self, model: nn.Module, ledger: Ledger) -> Self:
        """This ladder on the line of `model` and `ledger`."""
        return replace(self, rungs=[rung.placed(model, ledger) for rung in self.rungs])


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
        return Meter(lambda x: self(Query(x, client)).p, budget=budget, past=past)
