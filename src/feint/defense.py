"""Interfaces of the steps of a defense, and the recipes that compose them: `Defense` and `Ladder`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadRecipe
from feint.fitting import FitContext, Fittable
from feint.ledger import Account, Ledger
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.query import Query
from feint.victims import logits


@runtime_checkable
class Rule(Protocol):
    """Access rule: admits a query or raises `Refused`.

    A class with `servable = True` runs without torch, beside an exported graph in the gateway.
    """

    def admit(self, query: Query, account: Account) -> None:
        """Admit `query`, or raise `Refused`; the rule's state is in `account`."""
        ...


class Detector(Protocol):
    """Detector of suspicious clients. Its state is in the client's account.

    A class with `exportable = True` needs a single number of each query: its `score` goes into a graph, and
    `martingale()` turns scores into evidence.
    """

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Return the evidence against the client so far; 1 is the detector's own level for an accusation.

        Args:
            query: Query of N inputs.
            z: The model's undefended logits (N, K).
            account: The client's account, which is updated.
        """
        ...


InputDefense = Callable[[Tensor, nn.Module], Tensor]  # (x, model) -> x
OutputDefense = Callable[[Tensor, Tensor], Tensor]  # (p, x) -> p


@runtime_checkable
class Bound(Protocol):
    """Output defense that needs the model or the ledger: a new service calls `bind` once."""

    def bind(self, model: nn.Module, ledger: Ledger) -> OutputDefense:
        """Return the output defense for `model` and `ledger`."""
        ...


def bind(step: OutputDefense, model: nn.Module, ledger: Ledger) -> OutputDefense:
    """Return `step` bound to `model` and `ledger`, or `step` itself where it needs neither."""
    return step.bind(model, ledger) if isinstance(step, Bound) else step


@dataclass(frozen=True)
class Defense:
    """Recipe of a defense: the steps before and after the model. `Defense()` is no defense.

    Attributes:
        access: Rules that admit or refuse a query.
        inputs: Perturbations (x, model) → x of the inputs (N, …) in [0, 1].
        outputs: Perturbations (p, x) → p of the probabilities (N, K) on the simplex.
    """

    access: Sequence[Rule] = ()
    inputs: Sequence[InputDefense] = ()
    outputs: Sequence[OutputDefense] = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # tuples, so that a recipe given as lists is frozen as well
            object.__setattr__(self, field.name, tuple(getattr(self, field.name)))

    def rung(self, query: Query, model: nn.Module, account: Account) -> Self:
        """Return the defense that applies to this query: a plain one is a ladder of one rung."""
        return self

    def bind(self, model: nn.Module, ledger: Ledger) -> Self:
        """Return this defense bound to `model` and `ledger`."""
        return replace(self, outputs=[bind(step, model, ledger) for step in self.outputs])

    def fit(
        self,
        victim: nn.Module,
        inputs: Split,
        *,
        outliers: Split | None = None,
        seed: int = 0,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> Self:
        """Return this defense with every step that learns fitted to `victim`, each by itself.

        Args:
            victim: Model from inputs (N, …) in [0, 1] to logits (N, K).
            inputs: Labelled inputs of the victim's task.
            outliers: Inputs of another task, for the methods that need them.
            seed: Same arguments and seed, same result on one machine.
            progress: Progress callback.
        """
        return self.fit_from(FitContext(victim, inputs, outliers, seed, progress))

    def fit_from(self, context: FitContext) -> Self:
        """Return this defense with every step that learns fitted in the same context."""

        def fitted(steps: Sequence[Any]) -> list[Any]:
            return [step.fit_from(context) if isinstance(step, Fittable) else step for step in steps]

        return replace(self, access=fitted(self.access), inputs=fitted(self.inputs), outputs=fitted(self.outputs))


@dataclass(frozen=True)
class Ladder:
    """Recipe of an adaptive defense: several defenses from gentle to harsh, chosen by the evidence against the client.

    Evidence is updated before the answer, for a whole batch at once, so that large batches gain nothing.

    Attributes:
        detectors: Sources of evidence. The largest evidence counts.
        rungs: Defenses from gentle to harsh. A client gets the highest rung whose entry its evidence has ever reached.
        at: Evidence at which each rung is entered, rising from 0.
        access: Rules for every client. They come first, and a query that they refuse leaves no evidence.
        shadow: Whether evidence and rung are recorded while every client stays on the first rung.

    Raises:
        BadRecipe: The entries do not rise from 0, or their number is not that of the rungs.
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
        """Update the evidence, and return the rung for the largest that this client has ever reached."""
        z = logits(model, query.x)
        for detector in self.detectors:
            account.add("evidence", 0.0, floor=detector.observe(query, z, account))
        reached = account.total("evidence")
        highest = max(i for i, entry in enumerate(self.at) if entry <= reached)
        account.add("rung", 0.0, floor=highest)
        return self.rungs[0 if self.shadow else highest]

    def bind(self, model: nn.Module, ledger: Ledger) -> Self:
        """Return this ladder bound to `model` and `ledger`."""
        return replace(self, rungs=[rung.bind(model, ledger) for rung in self.rungs])
