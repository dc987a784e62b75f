"""Turns of the event loop, in which requests of several clients come together."""

import asyncio
import math
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


QUIET = 5  # turns of the loop in which nobody comes, 0.5 µs each: grpc.aio begins a call up to four after a message
LONGEST = 0.005  # seconds for which the first one waits at most, however many come


class Turn:
    """Turn of the event loop, or several, in which requests come together; and a forecast whether others come.

    Work that is done for several at once waits for the end of the turn, which one that comes alone need not. Others are
    expected or not by the last turn in which anybody came.

    Args:
        over: Called when a turn is over for whose end somebody waits.
        quiet: Turns of the loop in which nobody comes, after which it is over where somebody waits for its end. It
            is over after `LONGEST` seconds in any case.
    """

    def __init__(self, over: Callable[[], None], *, quiet: int = 0) -> None:
        self._over, self._quiet = over, quiet
        self._together, self._count, self._seen, self._idle, self._until = True, 0, 0, 0, 0.0

    def enter(self) -> bool:
        """Count one that comes now; return whether it waits, as others are here or are expected to come."""
        self._count += 1
        if self._count == 1:
            loop = asyncio.get_running_loop()
            self._seen, self._idle, self._until = 1, 0, loop.time() + LONGEST
            loop.call_soon(self._look, loop)
        return self._together or self._count > 1

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look whether the turn is over, after a turn of the loop."""
        self._seen, self._idle = self._count, self._idle + 1 if self._count == self._seen else 0
        waits = self._together or self._count > 1
        if waits and self._idle < self._quiet and loop.time() < self._until:
            loop.call_soon(self._look, loop)
            return
        self._together, self._count = self._count > 1, 0
        if waits:
            self._over()


class TurnQueue(Generic[T]):
    """Queue of what is done together with all that comes in the same `Turn`; one that comes alone is done at once.

    Args:
        run: Does it; an exception is everybody's. It runs in no request's context.
        quiet: As in `Turn`. The answers of a turn are written one after the other, and so those come who take them:
            without a quiet turn of the loop, 8 clients in closed loops become 2 and 6, and not 8 at once.
    """

    def __init__(self, run: Callable[[Sequence[T]], Awaitable[None]], *, quiet: int = QUIET) -> None:
        self._run, self._turn = run, Turn(self._begin, quiet=quiet)
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._running = set[asyncio.Task[None]]()

    async def __call__(self, entry: T) -> None:
        """Return when `entry` is done. Whoever is cancelled before the turn is over is left out."""
        if not self._turn.enter():
            await self._run([entry])
            return
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        await done

    def _begin(self) -> None:
        """Begin to do what waits."""
        if self._waiting:
            running = asyncio.get_running_loop().create_task(self._all(self._waiting), context=Context())
            self._waiting = []
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    async def _all(self, waiting: Sequence[tuple[T, asyncio.Future[None]]]) -> None:
        waiting = [(entry, done) for entry, done in waiting if not done.done()]
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
