"""Jobs for runners, in a module that fresh processes can load."""

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
    """`run` on each item, and what was lost."""

    def lost(self, item, reason):
        return Lost(item, reason)


class Double(Job):
    def __call__(self, item):
        return 2 * item


@dataclass(frozen=True)
class Threads(Job):
    """How many threads torch and numpy's libraries have here, and in which process."""

    def __call__(self, item):
        import torch

        return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.getpid()


@dataclass
class Loaded(Job):
    """A job that notes in a folder whenever it is loaded."""

    folder: Path

    def __setstate__(self, state):
        self.__dict__ = state
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()

    def __call__(self, item):
        return item


@dataclass(frozen=True)
class Dies(Job):
    """An item kills its process as often as it says, leaving a note each time."""

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
    """An item is how many seconds to sleep; it comes back with the process."""

    def __call__(self, item):
        time.sleep(item)
        return item, os.getpid()


class Raises(Job):
    """A job that no process can load."""

    def __setstate__(self, state):
        raise ModuleNotFoundError("no such module there")

    def __getstate__(self):
        return {"so that": "it is called"}

    def __call__(self, item):
        return item


@dataclass(frozen=True)
class EndlessThere(Job):
    """`job`, which never ends on one Ray node; each beginning is noted in `folder`."""

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
    """A matrix whose cells note in `notes` when they begin; those named in a file called failing there fail."""

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
        """How often each cell was begun, by its seed."""
        return collections.Counter(int(note.name.split("-")[0]) for note in self.notes.glob("*-*"))
