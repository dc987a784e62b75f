"""Entry points of the server: in this process until a signal, or in a thread for tests and notebooks."""

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
from feint.gateway.app import Authenticator
from feint.gateway.server.app_state import AppState, Ledgers
from feint.gateway.server.bootstrap import load
from feint.gateway.server.server_handle import Factory, RunningServer
from feint.gateway.settings import Settings
from feint.gateway.telemetry import observers


async def serve(
    make: Factory, *, started: Callable[[RunningServer], None] = lambda running: None, shared_ports: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT; a second one stops at once. SIGHUP opens the settings and the audit log again.

    Args:
        make: Opens the settings.
        started: Called once the server listens.
        shared_ports: Whether other workers listen on the same ports.

    Raises:
        FeintError: Before anything is served.
    """
    state = await make(None)
    telemetry = observers.start_telemetry(state.settings.operator)
    running = RunningServer(state, telemetry=telemetry, shared_ports=shared_ports)
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[Any]]()
    try:
        await running.start()
    except FeintError:
        await running.opened.close()
        raise
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.stop)
    if shared_ports:  # whoever stops all processes of a service sends it SIGTERM too, beside the supervisor
        loop.add_signal_handler(signal.SIGTERM, lambda: running.gateway.stopping or running.stop())
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
        telemetry.close()


def run(
    make: Factory, *, started: Callable[[RunningServer], None] = lambda running: None, shared_ports: bool = False
) -> None:
    """Run `serve` on a loop of its own."""
    uvloop.run(serve(make, started=started, shared_ports=shared_ports))


@contextlib.contextmanager
def running(
    settings: Settings | None = None, *, make: Factory | None = None, authenticator: Authenticator | None = None
) -> Iterator[RunningServer]:
    """Serve in a thread of this process, on free ports, until the block ends: for tests and notebooks.

    A gateway that cannot be opened raises a `FeintError`.

    Args:
        settings: The models, and how they are served.
        make: Builds the gateway instead of `settings`.
        authenticator: Authenticates clients; by default the settings' keys.

    Yields:
        The server.
    """
    up: Future[RunningServer] = Future()

    async def opening(ledgers: Ledgers | None) -> AppState:
        assert settings is not None
        return await load(settings, authenticator=authenticator, ledgers=ledgers)

    async def live() -> None:
        try:
            server = RunningServer(await (make or opening)(None), any_port=True)
            await server.start()
        except BaseException as error:
            up.set_exception(error)
            return
        up.set_result(server)
        await server.stopped()

    thread = threading.Thread(target=lambda: uvloop.run(live()), name="feint-gateway")
    thread.start()
    try:
        server = up.result()
        try:
            yield server
        finally:
            if not server.loop.is_closed():  # it may have been stopped already
                server.loop.call_soon_threadsafe(server.stop)
    finally:
        thread.join()
