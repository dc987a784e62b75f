"""The pipeline over an exported graph: rules and detectors of the recipe, applied to one run of the graph."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import numpy as np

from feint.defenses.access.e_process import Observation
from feint.defenses.served_mark import ServedMark
from feint.errors import Failed
from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.backends.onnx_model import Outputs
from feint.gateway.backends.shared_run import Request, SharedRun, Together
from feint.gateway.record import RequestRecord
from feint.gateway.transaction import Transaction
from feint.ledger import Account
from feint.onnx_manifest import RungSpec
from feint.pipeline import Pipeline
from feint.signature import domain_kind

Source = Callable[[Array], Awaitable[Array]]  # inputs (N, …) to undefended probabilities (N, K): a model elsewhere


class DefendedGraph(Protocol):
    """Graph of an `OnnxPipeline`; `feint.gateway.backends.onnx_model.OnnxModel` is one."""

    @property
    def access(self) -> Sequence[Any]:
        """Everybody's access rules."""
        ...

    @property
    def rungs(self) -> Sequence[RungSpec]:
        """Rungs from gentle to harsh; a plain defense has one."""
        ...

    @property
    def detectors(self) -> Sequence[Any]:
        """Martingales that turn the graph's scores into evidence."""
        ...

    @property
    def campaign(self) -> Any:
        """Evidence over many accounts, which reads the last of the graph's scores; None for none."""
        ...


Run = Callable[[Array, Request | None], Awaitable[Outputs]]


def reading(graph: DefendedGraph, run: Callable[[Array], Outputs]) -> Callable[[Array], Outputs]:
    """Return the run of a graph whose outputs have, for scores, what detectors read of them: once for many requests."""

    def read(rows: Array) -> Outputs:
        out = run(rows)
        readings = [detector.read(scores) for detector, scores in zip(graph.detectors, out.scores, strict=False)]
        return Outputs(out.rungs, readings + out.scores[len(readings) :], *out[2:])

    return read if graph.detectors else run


def observing(graph: DefendedGraph) -> Together:
    """Return what computes the evidence of all requests of a run at once, and stores none of it."""
    if len(graph.detectors) != 1:  # the next detector begins with what the one before has stored
        return lambda outputs, requests: outputs
    (detector,) = graph.detectors

    def observe(outputs: Sequence[Outputs], requests: Sequence[Request | None]) -> list[Outputs]:
        observations, done = [], list(outputs)
        for i, (out, request) in enumerate(zip(outputs, requests, strict=True)):
            if request is not None:
                if out.near is not None:
                    request.query.near = out.near
                observations.append((i, Observation(out.scores[0], request.query, request.account.group)))
        evidence = detector.observe_each([observation for _, observation in observations])
        for (i, _), one in zip(observations, evidence, strict=True):
            rungs, scores, moved, near, _ = outputs[i]
            done[i] = Outputs(rungs, scores, moved, near, one)
        return done

    return observe


class OnnxPipeline(Pipeline[ArrayQuery]):
    """Pipeline over a graph from inputs to defended answers, or, behind a `source`, from probabilities to them.

    Args:
        graph: Rules, rungs and detectors of the recipe.
        run: Runs the graph, and reads its scores (`reading`), here or in a thread.
        source: Model elsewhere, from inputs (N, …) to undefended probabilities (N, K).
        marks: Marks of the answers of each rung, with their key. The graph then sees its inputs on the grid of their
            marks, as a service's model does; none for a graph without marks.
        access: Rules before those of the graph.
        safest: Rung whose answer is the `strongest`; None where no rung defends its answers.
        threshold: Factor by which the evidence at which each rung begins is multiplied.
    """

    def __init__(
        self,
        graph: DefendedGraph,
        run: Run,
        *,
        source: Source | None = None,
        marks: Sequence[Sequence[ServedMark]] = (),
        access: Sequence[Any] = (),
        safest: int | None = None,
        threshold: float = 1.0,
    ) -> None:
        self.graph, self._run, self._source, self._safest = graph, run, source, safest
        self._marks = marks if any(marks) else ()
        alone = graph.rungs[0].access if len(graph.rungs) == 1 else ()  # a rung that everybody stands on
        self._everybodys = (*access, *graph.access, *alone)
        self._threshold = threshold
        self._rungs = [() if len(graph.rungs) == 1 else rung.access for rung in graph.rungs]

    @property
    def rules(self) -> tuple[Any, ...]:
        """Everybody's access rules, and those of each rung."""
        return (*self._everybodys, *(rule for rules in self._rungs for rule in rules))

    @property
    def detectors(self) -> tuple[Any, ...]:
        """Detectors of the ladder."""
        return tuple(self.graph.detectors)

    @property
    def campaign(self) -> Any:
        """Evidence over many accounts, None for none."""
        return self.graph.campaign

    def admit(self, query: ArrayQuery, account: Account) -> None:
        """Apply everybody's access rules."""
        for rule in self._everybodys:
            rule.admit(query, account)

    def together(self, query: ArrayQuery) -> bool:
        """Return whether a query is computed at once, together with others."""
        return self._source is None and isinstance(self._run, SharedRun) and self._run.holds(len(query))

    async def compute(self, query: ArrayQuery, account: Transaction | None = None) -> Outputs:
        """Return the answers of every rung, and the detectors' scores, and perhaps evidence against the account."""
        x = self._read(query) if self._source is None else await self._source(self._read(query))
        return await self._run(x, None if account is None else Request(query, account))

    def compute_each(self, requests: Sequence[tuple[ArrayQuery, Transaction]]) -> list[Outputs | Exception]:
        """Compute as `compute` for each of several queries that may be computed `together`, or return its error."""
        assert isinstance(self._run, SharedRun)
        return self._run.each([(self._read(query), Request(query, account)) for query, account in requests])

    def _read(self, query: ArrayQuery) -> Array:
        """Return the inputs as the model sees them."""
        return domain_kind(query.x.dtype).quantize(query.x) if self._marks else query.x

    async def answer(
        self,
        query: ArrayQuery,
        computed: Outputs,
        account: Account,
        record: RequestRecord | None = None,
        *,
        shadow: bool = False,
    ) -> Array:
        """Return the answer of the client's rung, after its rules.

        The record has the distance from the undefended answer, at most: a mark's adds to that of the graph.
        """
        record = record or RequestRecord("", query.client, len(query), query.time)
        campaign = self.graph.campaign
        if computed.near is not None:
            query.near = computed.near
        record.evidence = account.accuse(self._observed(query, computed, account.group))
        record.rung = max(i for i, rung in enumerate(self.graph.rungs) if self._threshold * rung.at <= record.evidence)
        account.add("rung", 0.0, floor=record.rung)
        rows, used = np.empty(0, int), [record.rung]
        if campaign is not None:
            rows = campaign.assign(computed.scores[-1], query, account, record.rung)
            record.campaign = campaign.alarmed(query, account)
            used = np.unique(rows).tolist() or used
        used = [0] if shadow else used
        record.applied = used[-1]
        for rule in [rule for rung in used for rule in self._rungs[rung]]:
            rule.admit(query, account)
        if computed.moved is not None and len(query):
            record.moved = sum(selected(computed.moved, rows, used).tolist()) / len(query)
        p = selected(computed.rungs, rows, used)
        q = self._marked(p, query, rows, used, account)
        if record.moved is not None and q is not p:
            record.moved += float(np.abs(q - p).sum()) / len(query)
        return q

    def _observed(self, query: ArrayQuery, computed: Outputs, group: Account) -> float:
        """Store the evidence that the query adds; return the largest that there ever was, 0 without a detector."""
        if computed.evidence is not None and computed.evidence.account is group:  # otherwise after a conflict
            return computed.evidence.store()
        detectors = self.graph.detectors
        observed = zip(detectors, computed.scores[: len(detectors)], strict=True)
        return max((detector.observe_readings(read, query, group) for detector, read in observed), default=0.0)

    def _marked(
        self, p: Array, query: ArrayQuery, rows: Array, used: Sequence[int], account: Account | None = None
    ) -> Array:
        """Return the answers with the marks of their rungs, and store these in the account; itself without marks."""
        for rung in used if self._marks else ():
            of_rung = slice(None) if len(used) == 1 else rows == rung
            for mark in self._marks[rung]:
                before, x, p = p[of_rung], query.x[of_rung], p.copy()
                p[of_rung] = mark.perturb(before, x)
                if account is not None:
                    mark.record(before, p[of_rung], x, account)
        return p

    async def strongest(self, query: ArrayQuery, computed: Outputs) -> Array:
        """Return the answer of the safest rung."""
        if self._safest is None:
            raise Failed("a ledger that is lost, and no output defense", "one of the two", "try again later")
        return self._marked(computed.rungs[self._safest], query, np.empty(0, int), [self._safest])


def selected(arrays: Sequence[Array], rows: Array, used: Sequence[int]) -> Array:
    """Return for each row that of its rung's array.

    Args:
        arrays: An array (N, …) for each rung.
        rows: The rung of each row, (N,), which is read where several are used.
        used: The rungs that are used; a single one has all rows.
    """
    if len(used) == 1:
        return arrays[used[0]]
    return np.choose(rows.reshape(-1, *[1] * (arrays[0].ndim - 1)), arrays)
