"""What stands on the line: the types of its steps, which the rooms fill, and the recipes that put them in a row."""

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
    """An access rule: it lets a query pass, or raises `Refused`.

    A rule of which the class has `servable = True` runs without torch, beside an exported graph in the gateway.
    """

    def admit(self, query: Query, account: Account) -> None: ...


class Detector(Protocol):
    """It looks at a query and the model's undefended logits `z` (N, K), and writes what it remembers to the account.

    The evidence that it returns is the client's so far, 1 where the detector would accuse at its own level. One of
    which the class has `exportable = True` needs a single number of each query: it has a `score`, which goes into a
    graph, and `martingale()`, which makes the evidence of it.
    """

    def observe(self, query: Query, z: Tensor, account: Account) -> float: ...


InputDefense = Callable[[Tensor, nn.Module], Tensor]  # (x, model) -> x
OutputDefense = Callable[[Tensor, Tensor], Tensor]  # (p, x) -> p


@runtime_checkable
class Bound(Protocol):
    """An output defense that leans on the model or the ledger: a service places it on its line when it is made."""

    def bind(self, model: nn.Module, ledger: Ledger) -> OutputDefense: ...


def bind(step: OutputDefense, model: nn.Module, ledger: Ledger) -> OutputDefense:
    """`step` on the line of `model` and `ledger`; as it is, where it leans on neither."""
    return step.bind(model, ledger) if isinstance(step, Bound) else step


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

    def bind(self, model: nn.Module, ledger: Ledger) -> Self:
        """This defense on the line of `model` and `ledger`."""
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
        """This defense with every part that learns fitted to `victim`, each on its own."""
        return self.fit_from(FitContext(victim, inputs, outliers, seed, progress))

    def fit_from(self, context: FitContext) -> Self:
        """Return this defense with every part that learns fitted in the same context."""

        def fitted(steps: Sequence[Any]) -> list[Any]:
            return [step.fit_from(context) if isinstance(step, Fittable) else step for step in steps]

        return replace(self, access=fitted(self.access), inputs=fitted(self.inputs), outputs=fitted(self.outputs))


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
        z = logits(model, query.x)
        for detector in self.detectors:
            account.add("evidence", 0.0, floor=detector.observe(query, z, account))
        reached = account.total("evidence")
        highest = max(i for i, entry in enumerate(self.at) if entry <= reached)
        account.add("rung", 0.0, floor=highest)
        return self.rungs[0 if self.shadow else highest]

    def bind(self, model: nn.Module, ledger: Ledger) -> Self:
        """This ladder on the line of `model` and `ledger`."""
        return replace(self, rungs=[rung.bind(model, ledger) for rung in self.rungs])
