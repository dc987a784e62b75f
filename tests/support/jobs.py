"""Jobs for runners, in a module that worker processes can import."""

import collections
import hashlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from feint.evaluation.results import FORMAT, Cell, Row
from feint.progress import NO_PROGRESS


@dataclass(frozen=True)
class Lost:
    item: object
    reason: str


class Job:
    """A job: called on each item; `lost` makes the result of an item that could not be run."""

    def lost(self, item, reason):
        return Lost(item, reason)


class Double(Job):
    def __call__(self, item):
        return 2 * item


@dataclass(frozen=True)
class Threads(Job):
    """Return the threads of torch, those of the numerical libraries, and the process."""

    def __call__(self, item):
        import torch

        return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.getpid()


@dataclass
class Loaded(Job):
    """A job that makes a file in `folder` whenever it is unpickled."""

    folder: Path

    def __setstate__(self, state):
        self.__dict__ = state
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()

    def __call__(self, item):
        return item


@dataclass(frozen=True)
class Dies(Job):
    """A job whose item (name, times) kills its process `times` times, and makes a file each time."""

    folder: Path
    number: int = signal.SIGKILL

    def __call__(self, item):
        name, times = item
        notes = len(list(self.folder.glob(f"{name}-*")))
        (self.folder / f"{name}-{notes}").touch()
        if notes < times:
            os.kill(os.getpid(), self.number)
            time.sleep(60)
        return name


class Sleeps(Job):
    """A job that sleeps an item's seconds and returns it with its process."""

    def __call__(self, item):
        time.sleep(item)
        return item, os.getpid()


class Raises(Job):
    """A job that no process can unpickle."""

    def __setstate__(self, state):
        raise ModuleNotFoundError("no such module there")

    def __getstate__(self):
        return {"so that": "it is called"}

    def __call__(self, item):
        return item


@dataclass(frozen=True)
class EndlessThere(Job):
    """`job`, which never ends on one Ray node; each start makes a file in `folder`."""

    job: Job
    folder: Path
    there: str

    def __call__(self, item):
        import ray

        here = ray.get_runtime_context().get_node_id()
        (self.folder / f"{here}-{time.monotonic_ns()}").touch()
        if here == self.there:
            time.sleep(600)
        return self.job(item)

    def lost(self, item, reason):
        return self.job.lost(item, reason)


@dataclass(frozen=True)
class Toy:
    """A matrix whose cells make a file in `notes` when they start; the cells named in its file `failing` fail."""

    notes: Path
    count: int = 6
    seconds: float = 0.0
    name: str = ""

    def cells(self):
        return [Cell("none", "toy", 1, seed, self.name) for seed in range(self.count)]

    def fingerprint(self, cell):
        return hashlib.sha256(f"{cell.seed}".encode()).hexdigest()[:16]

    def row(self, cell, *, progress=NO_PROGRESS):
        (self.notes / f"{cell.seed}-{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(self.seconds)
        if f"{cell.seed}" in (self.notes / "failing").read_text().split():
            raise ValueError("no luck\nwith this one")
        return self._row(cell, scores={"stealer_accuracy": cell.seed / 100, "fidelity": 0.5, "n_test": 100})

    def failed(self, cell, error):
        return self._row(cell, scores={}, error=error)

    def _row(self, cell, scores, error=""):
        recipe = {"defense": {}, "attack": {"kind": "Toy"}}
        fields = {"asked": 1, "seconds": 0.0, "recipe": recipe, "provenance": {"feint": "0"}, "format": FORMAT}
        return Row(self.fingerprint(cell), *("none", "toy", 1, cell.seed), scores=scores, error=error, **fields)

    def begun(self):
        """Return how often each cell was started, by its seed."""
        return collections.Counter(int(note.name.split("-")[0]) for note in self.notes.glob("*-*"))
