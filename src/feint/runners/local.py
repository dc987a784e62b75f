"""Runner with processes of this machine, of one torch thread each. A process that dies loses its own item alone.

Neither `ProcessPoolExecutor` nor loky guarantees that: docs/background/design/runners.md compares them.
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

SPAWN = multiprocessing.get_context("spawn")  # never fork: torch's threads do not survive it
TRIES = 2
GRACE = 5.0  # seconds until a worker that should end is killed
READY = b""


def processes(job: Job[Any, Any], items: Iterable[Any], *, workers: int | None = None) -> Generator[Any]:
    """Map a job over items in processes. Raises `BadInput` where no process can start or load the job.

    The item of a process that dies is tried once more in a new process. Then it is lost, and the others continue.
    Closing the generator ends its processes.

    Args:
        job: The job; it must be picklable.
        items: Items, taken as workers become free.
        workers: Number of processes; by default that of the cores.

    Yields:
        Results in order of completion.
    """
    count = workers or os.cpu_count() or 1
    items, pool = iter(items), _WorkerPool(job)
    try:
        while True:
            for item in islice(items, count - len(pool.busy)):
                pool.submit(item)
            if not pool.busy:
                return
            yield from pool.results()
    finally:
        pool.end()


class _WorkerPool:
    """Workers with the same job, idle or busy."""

    def __init__(self, job: Job[Any, Any]) -> None:
        self._job, self._pickled = job, _pickle(job)
        self._idle: list[_Worker] = []
        self.busy: dict[Any, _Worker] = {}

    def submit(self, item: Any, tries: int = 1) -> None:
        """Run an item in an idle worker, or in a new one."""
        worker = self._idle.pop() if self._idle else _Worker(self._pickled)
        worker.run(item, tries)
        self.busy[worker.pipe] = worker

    def results(self) -> Iterator[Any]:
        """Wait for the next workers that finish or die, and yield the results."""
        for pipe in wait(list(self.busy)):
            worker = self.busy[pipe]
            try:
                message = worker.pipe.recv_bytes()
            except (EOFError, OSError):
                yield from self._retry(self.busy.pop(pipe))
            else:
                worker.ready = True
                if message != READY:
                    self._idle.append(self.busy.pop(pipe))
                    yield pickle.loads(message)

    def _retry(self, worker: "_Worker") -> Iterator[Any]:
        """Run the item of a dead worker once more, or yield it as lost after the last try."""
        end = worker.end()
        if end == "exit code 1" and not worker.ready:
            raise BadInput(
                "a worker that could not start; its error is above",
                "a job that a fresh process can load",
                'guard the script by `if __name__ == "__main__":`, and define the parts of the job in modules',
            )
        if worker.tries < TRIES:
            self.submit(worker.item, worker.tries + 1)
        else:
            yield self._job.lost(worker.item, f"its process ended with {end}, twice")

    def end(self) -> None:
        """End all processes, idle or busy."""
        for worker in [*self._idle, *self.busy.values()]:
            worker.end()


class _Worker:
    """Process that runs one item after the other."""

    def __init__(self, pickled: bytes) -> None:
        self.pipe, child_pipe = SPAWN.Pipe()
        self.ready = False
        self._process = SPAWN.Process(target=_work, args=(pickled, child_pipe), daemon=True)
        self._process.start()
        child_pipe.close()

    def run(self, item: Any, tries: int) -> None:
        """Start an item; the pipe receives its result, or is closed where the process dies."""
        self.item, self.tries = item, tries
        with contextlib.suppress(OSError):  # a dead process: reading the pipe reports it
            self.pipe.send_bytes(pickle.dumps(item))

    def end(self) -> str:
        """End the process where it has not ended by itself, and return its exit code or signal as text."""
        if self.pipe.poll():  # the process closed its end of the pipe, and is about to exit
            self._process.join(GRACE)
        self._process.terminate()
        self._process.join(GRACE)
        self._process.kill()
        self._process.join()
        self.pipe.close()
        code = self._process.exitcode or 0
        return f"exit code {code}" if code >= 0 else _signal(-code)


def _work(pickled: bytes, pipe: Connection) -> None:
    """Run items in a worker until its pipe is closed or its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    use_threads(1)
    job = pickle.loads(pickled)
    pipe.send_bytes(READY)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send_bytes(pickle.dumps(job(pickle.loads(pipe.recv_bytes()))))


def _end_with_parent() -> None:
    """Exit with the parent: an orphan would continue an item that other workers have taken over."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _pickle(job: Job[Any, Any]) -> bytes:
    """Return the job as bytes: torch's own pickler for processes would share the memory of its tensors."""
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
