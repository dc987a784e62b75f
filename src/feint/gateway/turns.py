"""Turns of the event loop, in which requests of several clients come together."""

import asyncio
import math
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Company:
    """Forecast of whether others come in the same turn of the loop, by the last turn in which anybody came.

    Work that is done for several at once waits for the end of the turn, and then for the next one: two turns that a
    client who asks alone need not wait.
    """

    def __init__(self) -> None:
        self._together, self._count = True, 0

    def expected(self) -> bool:
        """Count one that comes now; return whether others are here, or are expected to come in this turn."""
        self._count += 1
        if self._count == 1:
            asyncio.get_running_loop().call_soon(self._turn_over)
        return self._together or self._count > 1

    def _turn_over(self) -> None:
        self._together, self._count = self._count > 1, 0


class TurnQueue(Generic[T]):
    """Queue of what is done together with all that comes in the same turn of the event loop, or in the next one.

    Where the last one was alone, one that comes alone is done at once. Waiting for the next turn, in which those are
    read whose answers have just been written, makes of 8 clients in closed loops 8 at once, and not 2 and 6.

    Args:
        run: Does it; an exception is everybody's. It runs in no request's context.
    """

    def __init__(self, run: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._run, self._count, self._together = run, 0, True
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._turns = set[asyncio.Task[None]]()

    async def __call__(self, entry: T) -> None:
        """Return when `entry` is done. Whoever is cancelled before its turn begins is left out of it."""
        loop = asyncio.get_running_loop()
        self._count += 1
        if self._count == 1:
            loop.call_soon(self._turn_over)
        if not self._together and self._count == 1:
            await self._run([entry])
            return
        done = loop.create_future()
        self._waiting.append((entry, done))
        if len(self._waiting) == 1:
            turn = loop.create_task(self._turn(), context=Context())
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)
        await done

    def _turn_over(self) -> None:
        self._together, self._count = self._together or self._count > 1, 0

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        waiting = [(entry, done) for entry, done in self._waiting if not done.done()]
        self._waiting, self._together = [], len(waiting) > 1
        results = [done for _, done in waiting]
        try:
            if waiting:
                await self._run([entry for entry, _ in waiting])
        except asyncio.CancelledError:  # the loop ends
            for done in results:
                done.cancel()
            raise
        except Exception as error:
            for done in results:
                if not done.done():
                    done.set_exception(error)
        for done in results:
            if not done.done():
                done.set_result(None)


class Late(TimeoutError):
    """Raised where work takes longer than it may."""


async def in_time(until: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`.

    Work that never waits needs no timer: two of them took a tenth of the processor time of a small request.

    Args:
        until: Time limit, by the loop's clock; infinite for none.
        work: The work.

    Returns:
        Its result, or what it raises.

    Raises:
        Late: It takes longer.
        TimeoutError: The work's own.
    """
    try:
        first = work.send(None)
    except StopIteration as done:
        return done.value
    limit = asyncio.timeout_at(None if until == math.inf else until)
    try:
        async with limit:
            return await _rest(work, first)
    except TimeoutError as error:
        if limit.expired():
            raise Late from error
        raise


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], waited: Any) -> Generator[Any, Any, T]:
    """Go on with a coroutine that has begun, and waits."""
    while True:
        try:
            step, value = work.send, (yield waited)
        except BaseException as error:
            step, value = work.throw, error
        try:
            waited = step(value)
        except StopIteration as done:
            return done.value
