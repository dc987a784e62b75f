"""A running gateway: REST and gRPC in one process, on one loop, until it is told to stop."""

import asyncio
import contextlib
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import uvloop

from feint.errors import FeintError
from feint.gateway import operator
from feint.gateway.gateway import Doorkeeper
from feint.gateway.serving.live import Make, Running
from feint.gateway.serving.opening import Ledgers, Opened, opened
from feint.gateway.settings import Settings


async def serve(make: Make, *, started: Callable[[Running], None] = lambda running: None) -> None:
    """Serve what `make` opens until SIGTERM or SIGINT; a second one stops at once. SIGHUP has it opened anew. Raises
    `FeintError` before anything is served."""
    it = await make(None)
    at = it.settings.operator
    told = operator.opened(metrics=at.metrics, audit_log=at.audit_log, log=at.log, traces=at.traces)
    running = Running(it, told=told)
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[Any]]()
    try:
        await running.start()
    except FeintError:
        await running.opened.close()
        raise
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: tasks.add(asyncio.ensure_future(running.reload(make))))
    # What is there now stays. Looking through it for garbage again and again took a tenth of the processor time, and
    # made the slowest of a hundred requests take 8 ms instead of 1.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    started(running)
    try:
        await running.stopped()
    finally:
        told.close()


def run(make: Make, *, started: Callable[[Running], None] = lambda running: None) -> None:
    """`serve`, on a loop of its own."""
    uvloop.run(serve(make, started=started))


@contextlib.contextmanager
def running(
    settings: Settings | None = None, *, make: Make | None = None, door: Doorkeeper | None = None
) -> Iterator[Running]:
    """A gateway in a thread of this process, on free ports, until the block ends: for tests and notebooks.

    `make` opens something other than settings. Raises `FeintError`.
    """
    up: Future[Running] = Future()

    async def opening(ledgers: Ledgers | None) -> Opened:
        assert settings is not None
        return await opened(settings, door=door, ledgers=ledgers)

    async def live() -> None:
        try:
            it = Running(await (make or opening)(None), any_port=True)
            await it.start()
        except BaseException as error:
            up.set_exception(error)
            return
        up.set_result(it)
        await it.stopped()

    thread = threading.Thread(target=lambda: uvloop.run(live()), name="feint-gateway")
    thread.start()
    try:
        it = up.result()
        try:
            yield it
        finally:
            if not it.loop.is_closed():  # it may have been stopped already
                it.loop.call_soon_threadsafe(it.stop)
    finally:
        thread.join()
