"""One run of a graph for all requests that reach it in one turn of the event loop."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from feint.gateway.array_query import Array, ArrayQuery
from feint.gateway.backends.onnx_model import Outputs
from feint.gateway.transaction import Transaction
from feint.gateway.turns import Turn
from feint.signature import Domain

QUICK = 0.002  # seconds for which a run may hold the event loop
PROBES = 4  # inputs of each of two kinds by which it is tried whether rows depend on each other
CLOSE = {"rtol": 1e-3, "atol": 1e-5}  # differences that the arithmetic of other batch sizes makes


class Request(NamedTuple):
    """A request whose rows are run, and its account, whose snapshot `Together` may read."""

    query: ArrayQuery
    account: Transaction


Call = tuple[Array, Request | None]
Together = Callable[[Sequence[Outputs], Sequence[Request | None]], Sequence[Outputs]]


class PendingRows(NamedTuple):
    """Rows of one request, and their outputs to come."""

    rows: Array
    request: Request | None
    outputs: asyncio.Future[Outputs]


class SharedRun:
    """Runs a graph once for requests that come together: those of `each`, or calls in one turn of the event loop.

    Calls that come one by one are run at once (`Turn`).
    A run costs much the same for one row as for ten: 52 µs and 70 µs of a linear model with two APGP rungs. A run that
    fails is repeated for each of its requests, so that one fails alone. What takes more than `quick` seconds goes to a
    thread by itself: it would stop all other requests. The hop costs 0.06 ms, more than a small graph.

    Args:
        run: Graph, from rows (N, …) to their outputs.
        seconds: Time that it takes for a row.
        independent: Whether the outputs of a row are the same whatever rows are beside it (`rows_independent`).
            Otherwise every request is run alone.
        quick: Seconds for which a run may hold the event loop.
        together: Adds to the outputs of several requests of one run what is computed for all of them at once.
    """

    def __init__(
        self,
        run: Callable[[Array], Outputs],
        seconds: float,
        *,
        independent: bool = True,
        quick: float = QUICK,
        together: Together = lambda outputs, requests: outputs,
    ) -> None:
        self._run, self._seconds, self._independent, self._quick = run, seconds, independent, quick
        self._together = together
        self._calls: list[PendingRows] = []
        self._turn = Turn(self._run_all)

    def holds(self, rows: int) -> bool:
        """Return whether a run of so many rows may hold the event loop; otherwise a thread makes it."""
        return self._seconds * rows <= self._quick

    async def __call__(self, rows: Array, request: Request | None = None) -> Outputs:
        """Return the outputs of `rows` (N, …) of a request, or raise what the graph raises for them."""
        if not self.holds(len(rows)):
            return await asyncio.to_thread(self._run, rows)
        if not self._independent or not self._turn.enter():
            return self._run(rows)
        call = PendingRows(rows, request, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        return await call.outputs

    def each(self, calls: Sequence[Call]) -> list[Outputs | Exception]:
        """Return the outputs of the rows of each of several requests, or what the graph raises for them."""
        if not self._independent:
            return [self._alone(rows) for rows, _ in calls]
        return [outputs for together in self._groups(calls) for outputs in self._run_together(together)]

    def _run_all(self) -> None:
        calls, self._calls = [call for call in self._calls if not call.outputs.done()], []  # done: the client has gone
        for call, outputs in zip(calls, self.each([call[:2] for call in calls]), strict=True):
            if isinstance(outputs, Exception):
                call.outputs.set_exception(outputs)
            else:
                call.outputs.set_result(outputs)

    def _groups(self, calls: Sequence[Call]) -> Iterator[list[Call]]:
        """Yield the calls in groups of which each may hold the event loop."""
        together, total = list[Call](), 0
        for call in calls:
            if together and not self.holds(total + len(call[0])):
                yield together
                together, total = [], 0
            together.append(call)
            total += len(call[0])
        if together:
            yield together

    def _run_together(self, calls: Sequence[Call]) -> Sequence[Outputs | Exception]:
        if len(calls) == 1:
            return [self._alone(calls[0][0])]
        try:
            parts = list(
                _parts(self._run(np.concatenate([rows for rows, _ in calls])), [len(rows) for rows, _ in calls])
            )
            return self._together(parts, [request for _, request in calls])
        except Exception:  # of one of them: each gets its own answer, or its own error
            return [self._alone(rows) for rows, _ in calls]

    def _alone(self, rows: Array) -> Outputs | Exception:
        try:
            return self._run(rows)
        except Exception as error:
            return error


def _parts(outputs: Outputs, sizes: Sequence[int]) -> Iterator[Outputs]:
    """Yield the outputs of each call, of so many rows.

    Raises:
        ValueError: There are more rows, or fewer: nobody knows whose they are.
    """
    total, start = sum(sizes), 0
    if any(len(array) != total for array in outputs.arrays):
        raise ValueError(f"outputs of other than {total} rows")
    for size in sizes:
        yield outputs.part(slice(start, start + size))
        start += size


def rows_independent(run: Callable[[Array], Outputs], domain: Domain) -> bool:
    """Try whether a graph's outputs for a row are the same beside other rows as alone.

    They are not where a graph takes a scale or a rank over the whole batch, as dynamic quantization does: the answer to
    one client would then depend on what another sends.

    Args:
        run: Graph, from inputs (N, …) to their outputs.
        domain: Domain of its inputs.

    Returns:
        Whether random inputs of several ranges have the same outputs.
    """
    a, b = (domain.sample(PROBES, seed) for seed in (0, 1))
    x = np.concatenate([a, domain.blend(a, b, 0.5, 0)])
    together = run(x).arrays
    alone = [run(x[i : i + 1]).arrays for i in range(len(x))]
    return all(
        array.shape == column.shape and np.allclose(array, column, **CLOSE, equal_nan=True)
        for array, column in zip(together, map(np.concatenate, zip(*alone, strict=True)), strict=True)
    )
