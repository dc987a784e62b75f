"""The line over an exported graph: rules and detectors of the recipe, on what one run of the graph gave."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from feint.errors import Failed
from feint.gateway.asked import Array, Asked
from feint.gateway.decision import Decision
from feint.gateway.drafts import Draft
from feint.gateway.models.graphs import Outputs
from feint.gateway.models.imprint import Step

Source = Callable[[Array], Awaitable[Array]]  # inputs (N, …) to undefended probabilities (N, K): a model elsewhere


class Graph(Protocol):
    """What `GraphLine` asks of a graph; `feint.gateway.models.graphs.Exported` is one."""

    @property
    def access(self) -> Sequence[Any]: ...
    @property
    def rungs(self) -> Sequence[Step]: ...
    @property
    def detectors(self) -> Sequence[Any]: ...


Run = Callable[[Array], Awaitable[Outputs]]


class GraphLine:
    """A graph from inputs to defended answers, or, behind a `source`, from probabilities to them.

    `run` runs the graph, here or in a thread; `safest` is the rung of which `strongest` answers, None where
    no rung defends its answers. `access` are rules before those of the graph.
    """

    def __init__(
        self,
        graph: Graph,
        run: Run,
        *,
        source: Source | None = None,
        access: Sequence[Any] = (),
        safest: int | None = None,
    ) -> None:
        self.graph, self._run, self._source, self._safest = graph, run, source, safest
        alone = graph.rungs[0].access if len(graph.rungs) == 1 else ()  # a rung that everybody stands on
        self._everybodys = (*access, *graph.access, *alone)
        self._rungs = [() if len(graph.rungs) == 1 else rung.access for rung in graph.rungs]

    @property
    def rules(self) -> tuple[Any, ...]:
        """Everybody's access rules, and those of each rung."""
        return (*self._everybodys, *(rule for rules in self._rungs for rule in rules))

    def admit(self, asked: Asked, account: Draft) -> None:
        """Everybody's access rules, before the model runs. Raises `Refused`."""
        for rule in self._everybodys:
            rule.admit(asked, account)

    async def compute(self, asked: Asked) -> Outputs:
        """Run the model and the outputs of every rung. Raises `FeintError`."""
        return await self._run(asked.x if self._source is None else await self._source(asked.x))

    async def answer(
        self, asked: Asked, computed: Outputs, account: Draft, decision: Decision, *, shadow: bool
    ) -> Array:
        """What the client's rung lets out, after its rules. Raises `Refused`."""
        for detector, scores in zip(self.graph.detectors, computed.scores, strict=True):
            account.add("evidence", 0.0, floor=detector.observe(scores, asked, account))
        decision.evidence = account.total("evidence")
        decision.rung = max(i for i, rung in enumerate(self.graph.rungs) if rung.at <= decision.evidence)
        account.add("rung", 0.0, floor=decision.rung)
        decision.applied = 0 if shadow else decision.rung
        for rule in self._rungs[decision.applied]:
            rule.admit(asked, account)
        if computed.moved is not None and len(asked):
            decision.moved = sum(computed.moved[decision.applied].tolist()) / len(asked)
        return computed.rungs[decision.applied]

    async def strongest(self, asked: Asked, computed: Outputs) -> Array:
        """The answer of the safest rung. Raises `Failed` where none defends its answers."""
        if self._safest is None:
            raise Failed("a ledger that is lost, and no output defense", "one of the two", "try again later")
        return computed.rungs[self._safest]


class Here:
    """Runs a function on arrays on the event loop where it takes less than `quick` seconds, otherwise in a thread.

    A hop to a thread and back costs 0.06 ms, more than a small graph; a large one would keep everybody waiting.
    """

    def __init__(self, function: Callable[[Array], Any], seconds: float, *, quick: float = 0.002) -> None:
        self._function, self._seconds, self._quick = function, seconds, quick

    async def __call__(self, x: Array) -> Any:
        if self._seconds * len(x) <= self._quick:
            return self._function(x)
        return await asyncio.to_thread(self._function, x)
