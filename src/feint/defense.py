"""Defenses as recipes: the types of their steps, a defense made of steps, and the ladder of defenses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadRecipe
from feint.fitting import FitContext, Fittable
from feint.ledger import Account, Ledger
from feint.pipeline import QueryLike
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.query import Query
from feint.recipes.field_types import check_steps
from feint.victims import logits


@runtime_checkable
class Rule(Protocol):
    """Access rule, which admits a query or raises `Refused`.

    A rule whose class has `servable = True` runs without torch, beside an exported graph in the gateway.
    """

    def admit(self, query: Query, account: Account) -> None:
        """Admit `query` of the client with this `account`.

        Raises:
            Refused: if the query is not to be answered.
        """
        ...


class Detector(Protocol):
    """Detector, which turns the queries of a client into evidence against it and refuses nobody.

    A detector whose class has `exportable = True` needs a single number for each query. It has a `ranked_score`, which
    goes into a graph, and `martingale()`, which turns the scores into evidence.
    """

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Record a query and return the client's evidence.

        Args:
            query: The query.
            z: The model's undefended logits for it, (N, K).
            account: The account in which the detector stores its state: that of the client's group, if it has one.

        Returns:
            The client's evidence so far; 1 is where the detector would accuse at its own level.
        """
        ...


class Pooled(Protocol):
    """Evidence over many accounts, which assigns a rung to each input of a query; `Campaign` is one."""

    @property
    def rung(self) -> int:
        """Rung of the inputs that it suspects."""
        ...

    def assign(self, query: Query, z: Tensor, account: Account, rung: int) -> np.ndarray:
        """Return the rung of each input, (N,) int, where the client's own is `rung`, and update the evidence."""
        ...

    def alarmed(self, query: QueryLike, account: Account) -> bool | None:
        """Return whether there is an alarm, None where nothing about the query depends on it."""
        ...


InputDefense = Callable[[Tensor, nn.Module], Tensor]  # (x, model) -> x
OutputDefense = Callable[[Tensor, Tensor], Tensor]  # (p, x) -> p


@runtime_checkable
class Bound(Protocol):
    """Step that depends on the model or the ledger, and is bound to both when a service is made."""

    def bind(self, model: nn.Module, ledger: Ledger) -> Any:
        """Return the step that uses `model` and `ledger`: of an output defense, the function `(p, x) -> p`."""
        ...


@runtime_checkable
class Recording(Protocol):
    """Output defense that stores in a client's account what it changed in the client's answers."""

    def record(self, p: Tensor, q: Tensor, x: Tensor, account: Account) -> None:
        """Store what was changed from the answers `p` (N, K) to `q` (N, K) of the inputs `x` (N, …)."""
        ...


def bind(step: Any, model: nn.Module, ledger: Ledger) -> Any:
    """Return `step` bound to `model` and `ledger`, or `step` itself where it depends on neither."""
    return step.bind(model, ledger) if isinstance(step, Bound) else step


def draws(step: Any) -> bool:
    """Return whether an input or output defense, or one within it, draws by the marks of inputs."""
    inner = [value for value in vars(step).values() if callable(value)] if is_dataclass(step) else []
    return getattr(step, "randomised", False) or any(map(draws, inner))


@dataclass(frozen=True)
class Defense:
    """Recipe of a defense: the steps before and after the model. `Defense()` is no defense.

    A defense among the steps, such as one loaded from a file, stands for its own steps.

    Attributes:
        access: Access rules, which admit or refuse a query.
        inputs: Input defenses `(x, model) -> x`, applied in order before the model.
        outputs: Output defenses `(p, x) -> p`, applied in order after it.

    Raises:
        BadRecipe: A step is a ladder, which is a whole defense, or a room holds no list of steps.
    """

    access: Sequence[Rule] = ()
    inputs: Sequence[InputDefense] = ()
    outputs: Sequence[OutputDefense] = ()

    def __post_init__(self) -> None:
        rooms: dict[str, list[Any]] = {field.name: [] for field in fields(self)}
        for room in rooms:
            if isinstance(steps := getattr(self, room), str) or not isinstance(steps, Sequence):
                raise BadRecipe(f"{room}={steps!r:.60}", "a list of steps", f"Defense({room}=[STEP])")
        for here, step in [(room, step) for room in rooms for step in getattr(self, room)]:
            if isinstance(step, Ladder):
                raise BadRecipe("a Ladder among the steps of a Defense", "a Ladder alone", "name it by itself")
            whole = isinstance(step, Defense)
            for name in rooms if whole else [here]:
                rooms[name] += getattr(step, name) if whole else (step,)
        check_steps(step for steps in rooms.values() for step in steps)
        for room, steps in rooms.items():  # tuples, so that a recipe made of lists is frozen as well
            object.__setattr__(self, room, tuple(steps))

    @property
    def keyed(self) -> bool:
        """Whether a step draws by the marks of inputs, so that the model may see nothing that the marks do not."""
        return any(draws(step) for step in (*self.inputs, *self.outputs))

    def rung(self, query: Query, model: nn.Module, account: Account) -> Self:
        """Return the defense that answers this query: a plain defense is a ladder of one rung."""
        return self

    def parts(self, query: Query, model: nn.Module, account: Account) -> "list[QueryPart]":
        """Return the one part of the query, which this defense answers."""
        return [QueryPart(0, self, slice(None))]

    def bind(self, model: nn.Module, ledger: Ledger) -> Self:
        """Return this defense bound to `model` and `ledger`."""
        return replace(self, outputs=[bind(step, model, ledger) for step in self.outputs])

    @property
    def learns(self) -> bool:
        """Whether a part of it learns from a victim before it answers."""
        return any(isinstance(step, Fittable) for step in (*self.access, *self.inputs, *self.outputs))

    def fit(
        self,
        victim: nn.Module,
        inputs: Split,
        *,
        outliers: Split | None = None,
        seed: int = 0,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> Self:
        """Return this defense with every part that learns fitted to `victim`. See `Fittable.fit`."""
        return self.fit_from(FitContext(victim, inputs, outliers, seed, progress))

    def fit_from(self, context: FitContext) -> Self:
        """Return this defense with every part that learns fitted in the same context, each independently."""

        def fitted(steps: Sequence[Any]) -> list[Any]:
            return [step.fit_from(context) if isinstance(step, Fittable) else step for step in steps]

        return replace(self, access=fitted(self.access), inputs=fitted(self.inputs), outputs=fitted(self.outputs))


class QueryPart(NamedTuple):
    """Inputs of a query that one defense answers.

    Attributes:
        rung: Number of the defense on its ladder; 0 for a plain one.
        defense: The defense.
        rows: Where these inputs are in the query: all of it, or a mask (N,).
    """

    rung: int
    defense: Defense
    rows: slice | np.ndarray


@dataclass(frozen=True)
class Ladder:
    """Defenses from gentle to harsh, of which the evidence against a client selects one.

    A client stands on the highest rung whose threshold its evidence has ever reached. Evidence is counted before the
    answer, for all inputs of a batch at once, so that large batches gain nothing. The clients of a group are one for
    the detectors: its evidence puts each of them on its rung.

    Attributes:
        detectors: Detectors, of which the one with the most evidence counts.
        rungs: Defenses from gentle to harsh.
        at: Thresholds of evidence, one for each rung, rising from 0.
        access: Access rules for every client, applied first: a query that they refuse leaves no evidence.
        shadow: Whether evidence is recorded only, and every client stays on the first rung.
        campaign: Evidence over many accounts, such as `Campaign`, which raises the rung of single inputs.
    """

    detectors: Sequence[Detector]
    rungs: Sequence[Defense]
    at: Sequence[float] = (0.0, 1.0)
    access: Sequence[Rule] = ()
    shadow: bool = False
    campaign: Pooled | None = None

    def __post_init__(self) -> None:
        for name in ("detectors", "rungs", "at", "access"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_steps((*self.detectors, *self.access, self.campaign))
        if strangers := [rung for rung in self.rungs if not isinstance(rung, Defense)]:
            raise BadRecipe(
                f"{type(strangers[0]).__name__} as a rung", "a Defense", f"write Defense with it: {strangers[0]!r:.80}"
            )
        if len([detector for detector in self.detectors if hasattr(detector, "martingale")]) > 1:
            raise BadRecipe(
                "two detectors whose evidence is an e-process, with one state", "one of them",
                "average them, Combined([...]), which also keeps their promise",
            )  # fmt: skip
        if len(self.at) != len(self.rungs) or not self.at or self.at[0] != 0 or list(self.at) != sorted(set(self.at)):
            raise BadRecipe(
                f"{len(self.rungs)} rungs at {self.at}", "an entry for each rung, rising from 0", "change `at`"
            )
        if self.campaign is not None and not 0 < self.campaign.rung < len(self.rungs):
            known = f"1 to {len(self.rungs) - 1}"
            raise BadRecipe(f"a campaign's rung {self.campaign.rung}", known, "change it, or add a rung")

    @property
    def keyed(self) -> bool:
        """Whether a rung draws by the marks of inputs."""
        return any(rung.keyed for rung in self.rungs)

    def rung(self, query: Query, model: nn.Module, account: Account) -> Defense:
        """Collect the evidence for this query, and return the highest rung that one of its inputs is on."""
        return self.parts(query, model, account)[-1].defense

    def parts(self, query: Query, model: nn.Module, account: Account) -> list[QueryPart]:
        """Collect the evidence for this query.

        Returns:
            Its parts by rung, from gentle to harsh. All inputs are on the client's rung, except those that the campaign
            puts on a higher one.
        """
        z = logits(model, query.x)
        reached = account.accuse(
            max((detector.observe(query, z, account.group) for detector in self.detectors), default=0.0)
        )
        highest = max(i for i, entry in enumerate(self.at) if entry <= reached)
        account.add("rung", 0.0, floor=highest)
        rows, used = None, [highest]
        if self.campaign is not None:
            rows = self.campaign.assign(query, z, account, highest)
            used = np.unique(rows).tolist() or used
        if self.shadow:
            return [QueryPart(0, self.rungs[0], slice(None))]
        return [QueryPart(i, self.rungs[i], rows == i if len(used) > 1 else slice(None)) for i in used]

    def bind(self, model: nn.Module, ledger: Ledger) -> Self:
        """Return this ladder with every detector and every rung bound to `model` and `ledger`."""
        detectors = [bind(detector, model, ledger) for detector in self.detectors]
        rungs = [rung.bind(model, ledger) for rung in self.rungs]
        return replace(self, detectors=detectors, rungs=rungs, campaign=bind(self.campaign, model, ledger))
