"""Turns of the event loop, in which requests of several clients come together."""

import asyncio
import math
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


QUIET = (
    5  # turns of the loop in which nobody comes: grpc.aio begins the next call up to four after a message, 0.5 µs each
)
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


class Gathering:
    """Gathers what arrives one after the other, so that it goes on in one turn of the event loop.

    What has begun to arrive is waited for, `LONGEST` seconds at most, and only once: what is slow delays nobody again.
    Where nothing has begun, nor begins within `QUIET` turns of the loop, nothing waits.
    """

    def __init__(self) -> None:
        self._coming, self._gathered = set[object](), asyncio.Event()
        self._limit: asyncio.TimerHandle | None = None  # where somebody waits

    async def __call__(self, arriving: Awaitable[T]) -> T:
        """Return what arrives, together with what else has begun to."""
        one = object()
        self._coming.add(one)
        try:
            arrived = await arriving
        finally:
            self._coming.discard(one)
        for _ in range(QUIET):
            if self._coming:
                self._limit = self._limit or asyncio.get_running_loop().call_later(LONGEST, self._go_on)
                await self._gathered.wait()
                return arrived
            await asyncio.sleep(0)
        if self._limit is not None:
            self._go_on()
        return arrived

    def _go_on(self) -> None:
        """Let go all that wait."""
        assert self._limit is not None
        self._limit.cancel()
        self._gathered.set()
        self._coming, self._gathered, self._limit = set(), asyncio.Event(), None


OnLeave = Callable[[], None] | None  # called where whoever waits for work is cancelled, None where nobody is


class Waiter(asyncio.Future[None]):
    """Future of one who waits for work.

    A server may cancel whoever waits, as their client has gone. Work that has begun goes on all the same, and they wait
    for its end: to hang up would buy work without a charge otherwise.

    Args:
        on_leave: Called where whoever waits is cancelled; None where they are let go at once.
        begun: Whether the work has begun.
    """

    def __init__(self, on_leave: OnLeave, *, begun: bool = False) -> None:
        super().__init__()
        self._on_leave, self.begun = on_leave, begun

    def cancel(self, msg: Any = None) -> bool:
        """Let go whoever waits, unless they have to wait for the end of the work."""
        if not self.begun or self._on_leave is None:
            return super().cancel(msg)
        self._on_leave()
        return False

    async def wait(self) -> None:
        """Wait for the end of the work, and raise its error; `CancelledError` where it was let go."""
        try:
            await self
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or self.cancelled() or not self.done():
                raise
            task.uncancel()
            self.result()

    def follow(self, task: "asyncio.Task[None]") -> None:
        """End as a task did."""
        if task.cancelled():  # the loop ends
            super().cancel()
        elif (error := task.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(None)


async def run_to_end(work: Coroutine[Any, Any, None], on_leave: OnLeave) -> None:
    """Wait for work, which is done to its end where whoever waits may be cancelled: then it is a task of its own."""
    if on_leave is None:
        await work
        return
    waiter, task = Waiter(on_leave, begun=True), asyncio.get_running_loop().create_task(work)
    task.add_done_callback(waiter.follow)
    try:
        await waiter.wait()
    finally:
        del task, waiter  # raised, an error holds this frame, which would hold it


class TurnQueue(Generic[T]):
    """Queue of what is done together with all that comes in the same `Turn`; one that comes alone is done at once.

    Args:
        run: Does it; an exception is everybody's. It runs in no request's context.
        quiet: As in `Turn`. The answers of a turn are written one after the other, and so those come who take them:
            without a quiet turn of the loop, 8 clients in closed loops become 2 and 6, and not 8 at once.
    """

    def __init__(self, run: Callable[[Sequence[T]], Coroutine[Any, Any, None]], *, quiet: int = QUIET) -> None:
        self._run, self._turn = run, Turn(self._begin, quiet=quiet)
        self._waiting: list[tuple[T, Waiter]] = []
        self._running = set[asyncio.Task[None]]()

    async def __call__(self, entry: T, on_leave: OnLeave = None) -> None:
        """Return when `entry` is done. Whoever is cancelled before the turn is over is left out; then see `Waiter`."""
        if not self._turn.enter():
            await run_to_end(self._run([entry]), on_leave)
            return
        waiter = Waiter(on_leave)
        self._waiting.append((entry, waiter))
        await waiter.wait()

    def _begin(self) -> None:
        """Begin to do what waits."""
        if self._waiting:
            running = asyncio.get_running_loop().create_task(self._all(self._waiting), context=Context())
            self._waiting = []
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    async def _all(self, waiting: Sequence[tuple[T, Waiter]]) -> None:
        waiting = [(entry, waiter) for entry, waiter in waiting if not waiter.done()]
        waiters = [waiter for _, waiter in waiting]
        for waiter in waiters:
            waiter.begun = True
        try:
            if waiting:
                await self._run([entry for entry, _ in waiting])
        except asyncio.CancelledError:  # the loop ends
            for waiter in waiters:
                waiter.begun = False
                waiter.cancel()
            raise
        except Exception as error:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


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
