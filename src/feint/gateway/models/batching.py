"""Adaptive batching: inputs that come while the model is busy, or within a moment, are run together.

Off by default: with one thread of onnxruntime it brings nothing (2,275 inputs a second one by one, 2,278 in sixteens).
It pays where a model takes rows together faster than apart: torch, several threads, a GPU.
"""

import asyncio

import numpy as np

from feint.gateway.array_query import Array
from feint.gateway.models.graphs import Outputs
from feint.gateway.models.onnx_pipeline import Run


class Batches:
    """`run` for whoever asks, with at most `most` rows at once; the first of a batch waits at most `wait` seconds.

    A request that is larger than `most` runs alone. Every request gets its own rows, or the error of its batch.
    """

    def __init__(self, run: Run, *, most: int, wait: float) -> None:
        self._run, self._most, self._wait = run, most, wait
        self._waiting: list[tuple[Array, asyncio.Future[Outputs]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, x: Array) -> Outputs:
        """What `run` gives for `x` (N, …)."""
        if sum(len(it) for it, _ in self._waiting) + len(x) > self._most:
            self._start()
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Outputs] = loop.create_future()
        self._waiting.append((x, mine))
        if sum(len(it) for it, _ in self._waiting) >= self._most:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait, self._start)
        return await mine

    def _start(self) -> None:
        """Run all that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if waiting:
            task = asyncio.ensure_future(self._batch(waiting))
            self._tasks.add(task)  # the loop itself holds tasks only weakly
            task.add_done_callback(self._tasks.discard)

    async def _batch(self, waiting: list[tuple[Array, "asyncio.Future[Outputs]"]]) -> None:
        ends = np.cumsum([len(x) for x, _ in waiting])
        try:
            out = await self._run(np.concatenate([x for x, _ in waiting]))
            parts = [rows(out, slice(end - len(x), end)) for (x, _), end in zip(waiting, ends, strict=True)]
        except Exception as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), part in zip(waiting, parts, strict=True):
            if not future.done():  # whoever asked may have gone
                future.set_result(part)


def rows(out: Outputs, part: slice) -> Outputs:
    """Some rows of a batch's outputs."""
    moved = None if out.moved is None else [it[part] for it in out.moved]
    return Outputs([it[part] for it in out.rungs], [it[part] for it in out.scores], moved)
