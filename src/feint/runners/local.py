"""Processes of this machine, each of one torch thread: one that dies takes nothing along but its own item.

Neither `ProcessPoolExecutor` nor loky keeps that promise by itself: see docs/background/design/runners.md for what was
tried.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any

from feint.errors import BadInput
from feint.runners.job import Job, use_threads

SPAWN = multiprocessing.get_context("spawn")  # never forked: torch's threads do not survive that
TRIES = 2
GRACE = 5.0  # seconds until a worker that should end is killed
READY = b""


def processes(job: Job[Any, Any], items: Iterable[Any], *, workers: int | None = None) -> Generator[Any]:
    """What `job` makes of `items`, in so many processes; in as many as there are cores, if it is not said.

    A process that dies has its item tried once more in a fresh one; then the item is lost, and the others go on.
    Closing the generator ends its processes. Raises `BadInput` where no process can start, or take the job.
    """
    room = workers or os.cpu_count() or 1
    items, team = iter(items), _Team(job)
    try:
        while True:
            for item in islice(items, room - len(team.busy)):
                team.give(item)
            if not team.busy:
                return
            yield from team.results()
    finally:
        team.end()


class _Team:
    """Workers that were sent the same job, and what they are at."""

    def __init__(self, job: Job[Any, Any]) -> None:
        self._job, self._packed = job, _packed(job)
        self._idle: list[_Worker] = []
        self.busy: dict[Any, _Worker] = {}

    def give(self, item: Any, tries: int = 1) -> None:
        """Have an item run, in a fresh process if none is idle."""
        worker = self._idle.pop() if self._idle else _Worker(self._packed)
        worker.take(item, tries)
        self.busy[worker.pipe] = worker

    def results(self) -> Iterator[Any]:
        """What the next to be heard of have to tell: results, or that they are no more."""
        for pipe in wait(list(self.busy)):
            worker = self.busy[pipe]
            try:
                message = worker.pipe.recv_bytes()
            except (EOFError, OSError):
                yield from self._died(self.busy.pop(pipe))
            else:
                worker.ready = True
                if message != READY:
                    self._idle.append(self.busy.pop(pipe))
                    yield pickle.loads(message)

    def _died(self, worker: "_Worker") -> Iterator[Any]:
        """Try the item of a dead worker once more; if that was done, it is lost."""
        end = worker.end()
        if end == "exit code 1" and not worker.ready:
            raise BadInput(
                "a worker that could not start, as it says above",
                "a job that a fresh process can load",
                'guard the script by `if __name__ == "__main__":`, and define in modules what the job is made of',
            )
        if worker.tries < TRIES:
            self.give(worker.item, worker.tries + 1)
        else:
            yield self._job.lost(worker.item, f"its process ended with {end}, twice")

    def end(self) -> None:
        """End all processes, whatever they are at."""
        for worker in [*self._idle, *self.busy.values()]:
            worker.end()


class _Worker:
    """A process that runs one item after the other."""

    def __init__(self, packed: bytes) -> None:
        self.pipe, theirs = SPAWN.Pipe()
        self.ready = False
        self._process = SPAWN.Process(target=_work, args=(packed, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def take(self, item: Any, tries: int) -> None:
        """Run an item; what comes of it, or the end, is heard from the pipe."""
        self.item, self.tries = item, tries
        with contextlib.suppress(OSError):  # it is dead already, which the pipe will tell
            self.pipe.send_bytes(pickle.dumps(item))

    def end(self) -> str:
        """End the process, if it has not ended by itself, and say how it did."""
        if self.pipe.poll():  # its end of the pipe is closed: it is about to be gone by itself
            self._process.join(GRACE)
        self._process.terminate()
        self._process.join(GRACE)
        self._process.kill()
        self._process.join()
        self.pipe.close()
        code = self._process.exitcode or 0
        return f"exit code {code}" if code >= 0 else _signal(-code)


def _work(packed: bytes, pipe: Connection) -> None:
    """What a worker does, as long as there are items and the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    use_threads(1)
    job = pickle.loads(packed)
    pipe.send_bytes(READY)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send_bytes(pickle.dumps(job(pickle.loads(pipe.recv_bytes()))))


def _end_with_parent() -> None:
    """A worker whose parent was killed would go on with an item that others have taken over."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _packed(job: Job[Any, Any]) -> bytes:
    """The job as bytes: torch's own way would share the memory of its tensors."""
    try:
        return pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise BadInput(
            f"a job that cannot be sent to another process ({error})",
            "recipes, and functions and classes of modules",
            "define it in a module, or use Python's own map",
        ) from error


def _signal(number: int) -> str:
    return f"signal {number}" + (" (out of memory?)" if number == signal.SIGKILL else "")
