"""Worker processes of one gateway on one machine, which share its ports and its ledger, and their supervisor."""

import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from prometheus_client import multiprocess

from feint import __version__
from feint.errors import BadInput, FeintError
from feint.gateway import accounts, error_responses
from feint.gateway.redaction import redacted
from feint.gateway.server import ports, run
from feint.gateway.server.app_state import AppState, Ledgers
from feint.gateway.server.bootstrap import describe, load
from feint.gateway.server.server_handle import RunningServer
from feint.gateway.settings import ServerSettings, Settings
from feint.gateway.settings_file import read
from feint.gateway.telemetry.logs import Logs, attach, take_over
from feint.gateway.telemetry.metrics_files import count_as

PAUSE = 1.0  # seconds between a worker's start and that of the one that replaces it, at least
METRICS = "PROMETHEUS_MULTIPROC_DIR"  # the directory where prometheus_client sums the metrics of processes
SPAWN = multiprocessing.get_context("spawn")  # a fork would share locks and threads of the libraries

log = logging.getLogger("feint.gateway")


class Worker(NamedTuple):
    """A worker process.

    Attributes:
        process: The process.
        pipe: Its end that is closed, as the process ends; what it sent is that it started, or why it did not.
        since: When it was started, in seconds of the monotonic clock.
    """

    process: BaseProcess
    pipe: Connection
    since: float


def serve(file: Path, count: int, *, started: Callable[["Served"], None]) -> None:
    """Serve the settings in a file by `count` workers until SIGTERM or SIGINT; a second one stops at once.

    A worker that dies is replaced, a second after its start or later. SIGHUP lets every worker read the file again. If
    this process is killed the workers stop, as they do after SIGTERM.

    Args:
        file: The settings file.
        count: Number of workers, 1 or more.
        started: Called once all workers listen.

    Raises:
        BadInput: The ledger is in memory, or a port is taken; nothing is served then.
        FeintError: Another one of a worker that cannot start, unless it was told to stop before.
    """
    if count < 1:
        raise BadInput(f"{count} workers", "1 or more", "leave --workers out for one process")
    settings = _shared_settings(file)
    ports.check_free(settings.server)
    with _ports_held(settings.server), _metrics_directory():
        supervisor = Supervisor(file, count)
        try:
            started(supervisor.start())
            attach(Logs(settings.operator.log, version=__version__), settings.operator.log)
            supervisor.watch()
        except FeintError:
            if not supervisor.stopping:
                raise
            log.warning("stopped before all workers served")
        finally:
            supervisor.close()


class Served(NamedTuple):
    """What a worker serves: lines for the operator, and problems that they should fix."""

    lines: Sequence[str]
    warnings: Sequence[str]


class Supervisor:
    """Starts the workers, passes signals on to them, and replaces those that die."""

    def __init__(self, file: Path, count: int) -> None:
        self._file, self._count = file, count
        self._workers: dict[int, Worker] = {}
        self._running, self._stopping = set[int](), False

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping

    def start(self) -> Served:
        """Start all workers, and return what each of them serves; raise the error of one that cannot."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        for number in range(self._count):
            self._spawn(number)
        served = [_started(worker) for worker in self._workers.values()]
        self._running.update(self._workers)
        return served[0]

    def watch(self) -> None:
        """Replace workers that die, until all have stopped after a signal."""
        while self._workers:
            ready = wait([worker.process.sentinel for worker in self._workers.values()], PAUSE)
            for number, worker in list(self._workers.items()):
                if worker.process.sentinel in ready:
                    self._ended(number, worker)
                elif number not in self._running and worker.pipe.poll():
                    self._report(number, worker)

    def close(self) -> None:
        """Stop what still runs."""
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join()

    def _spawn(self, number: int) -> None:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=work, args=(self._file, number, theirs), name=f"feint-worker-{number}")
        process.start()
        theirs.close()
        self._workers[number] = Worker(process, ours, time.monotonic())

    def _ended(self, number: int, worker: Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self._running.discard(number)
        multiprocess.mark_process_dead(number, os.environ[METRICS])  # pyright: ignore[reportArgumentType]
        if self._stopping:
            del self._workers[number]
            return
        log.error("worker %d ended with code %s, and is replaced", number, worker.process.exitcode)
        time.sleep(max(0.0, worker.since + PAUSE - time.monotonic()))
        if self._stopping:
            del self._workers[number]
        else:
            self._spawn(number)

    def _report(self, number: int, worker: Worker) -> None:
        try:
            _started(worker)
        except FeintError as error:
            log.error("worker %d cannot start: %s", number, redacted(str(error)))
            worker.process.join()  # or its pipe, which closes first, would be one more error
        else:
            self._running.add(number)
            log.warning("worker %d serves", number)

    def _stop(self, *_: object) -> None:
        self._signal(signal.SIGINT if self._stopping else signal.SIGTERM)  # a second one ends a worker at once
        self._stopping = True

    def _reload(self, *_: object) -> None:
        self._signal(signal.SIGHUP, self._running)  # one that only starts reads the file anyway

    def _signal(self, number: signal.Signals, workers: Collection[int] | None = None) -> None:
        for name, worker in self._workers.items():
            if worker.process.is_alive() and (workers is None or name in workers):
                os.kill(worker.process.pid, number)  # pyright: ignore[reportArgumentType] # it was started


def work(file: Path, number: int, pipe: Connection) -> None:
    """Serve as one worker, until SIGTERM or until the supervisor has gone.

    Args:
        file: The settings file.
        number: Number of the worker, under which it goes on counting where the one that it replaces has ended.
        pipe: The supervisor's, to which the lines of what is served are sent, or the error that prevents it.
    """
    os.setpgid(0, 0)  # Ctrl-C in a terminal goes to the supervisor alone
    take_over()
    count_as(number)

    async def make(ledgers: Ledgers | None) -> AppState:
        return await load(_shared_settings(file), ledgers=ledgers)

    def started(running: RunningServer) -> None:
        pipe.send(Served([*describe(running.opened), f"serving {running.addresses}"], running.opened.warnings))
        running.loop.add_reader(pipe.fileno(), gone, running)

    def gone(running: RunningServer) -> None:
        running.loop.remove_reader(pipe.fileno())
        shutil.rmtree(os.environ[METRICS], ignore_errors=True)  # which the supervisor would have removed
        running.stop()

    try:
        run.run(make, started=started, shared_ports=True)
    except FeintError as error:
        pipe.send(error)
    except Exception as error:
        error_responses.logged(error)  # multiprocessing would print its text
        sys.exit(1)


def _started(worker: Worker) -> Served:
    """Wait until a worker listens, and return what it serves; raise the error that prevents it."""
    try:
        sent = worker.pipe.recv()
    except EOFError:
        worker.process.join()
        code = worker.process.exitcode
        raise BadInput(f"a worker that ended with code {code}", "one that serves", "look at its output") from None
    if isinstance(sent, FeintError):
        raise sent
    return sent


def _shared_settings(file: Path) -> Settings:
    """Return the settings in a file; raise `BadInput` for a ledger in memory, of which each worker had its own."""
    settings = read(file)
    accounts.check_stored(settings)
    return settings


@contextmanager
def _ports_held(server: ServerSettings) -> Iterator[None]:
    """Keep the ports for the workers, also while one is replaced; these sockets do not listen."""
    held = [ports.bind(server.host, port, shared=True) for port in (server.rest_port, server.grpc_port) if port]
    try:
        yield
    finally:
        for holder in held:
            holder.close()


@contextmanager
def _metrics_directory() -> Iterator[None]:
    """Name a directory where the workers' metrics are summed, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="feint-metrics-") as directory:
        os.environ[METRICS] = directory
        try:
            yield
        finally:
            del os.environ[METRICS]
