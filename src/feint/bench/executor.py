"""The bench: runs every cell of matrices once, over processes and machines that share a folder."""

import contextlib
import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from feint.bench.locks import Leases
from feint.errors import one_line
from feint.evaluation.results import Cell, Results, Row
from feint.models.cache import cache_directory, cached_in
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.runners import Runner

POLL = 1.0  # seconds between two checks whether other processes have finished their cells


class CellRunner(Protocol):
    """The interface of a `Matrix` for the bench.

    Attributes:
        name: Name of the victim.
    """

    name: str

    def cells(self) -> list[Cell]:
        """Return all cells, in the order in which they are run."""
        ...

    def fingerprint(self, cell: Cell) -> str:
        """Return a hash of everything that the row of a cell depends on."""
        ...

    def row(self, cell: Cell, *, progress: ProgressCallback = NO_PROGRESS) -> Row:
        """Run a cell."""
        ...

    def failed(self, cell: Cell, error: str) -> Row:
        """Return the row of a cell that has no scores because of an error."""
        ...


def run(
    matrices: Iterable[CellRunner],
    *,
    folder: Path | str | None = None,
    map: Runner = map,
    progress: ProgressCallback = NO_PROGRESS,
    until: float = math.inf,
) -> Results:
    """Run all cells of matrices that have no row yet.

    Several processes and machines may share a folder: each takes the cells that no other is running. A cell that fails
    gets a row with its error, and the next call runs it again. `NotWritten` is raised where a row cannot be written.

    Args:
        matrices: The matrices, one for each victim.
        folder: Working directory. Cells with a row there are not run again, and new rows are written there.
        map: The runner, which applies a function to cells, like the built-in `map` or a `Runner` on many processes.
        progress: Progress callback.
        until: Time of `time.monotonic` in seconds, from which no further cell is begun.

    Returns:
        The rows of all cells that have one.
    """
    folder = None if folder is None else Path(folder)
    job = CellJob({matrix.name: matrix for matrix in matrices}, progress)
    cells = {matrix.fingerprint(cell): cell for matrix in job.matrices.values() for cell in matrix.cells()}
    results = Results.load(folder) if folder is not None else Results()
    results = results.of(key for key in cells if key in results and not results[key].error)
    if folder is None:
        _Run(job, cells, results, until=until).run(map)
    elif len(results) < len(cells):
        with Leases(folder / ".leases") as leases:
            _Run(job, cells, results, folder, leases, until).run(map)
    return results.of(cells)


@dataclass(frozen=True)
class CellJob:
    """The function that runs a cell, in this process or in a worker.

    Attributes:
        matrices: The matrices by the victim's name.
        progress: Progress callback. A pickle carries none, since workers show no progress.
        cache: Cache directory of trainings, for this process and for workers.
    """

    matrices: Mapping[str, CellRunner]
    progress: ProgressCallback = NO_PROGRESS
    cache: Path | None = field(default_factory=cache_directory)

    def __call__(self, item: Cell) -> Row:
        matrix = self.matrices[item.victim]
        try:
            with cached_in(self.cache):
                return matrix.row(item, progress=self.progress)
        except Exception as error:  # any error: it is stored in the row, and the other cells go on
            return matrix.failed(item, f"{type(error).__name__}: {one_line(error)}")

    def lost(self, item: Cell, reason: str) -> Row:
        """Return the row of a cell whose process ended without a row."""
        return self.matrices[item.victim].failed(item, reason)

    def __getstate__(self) -> dict[str, object]:
        return {"matrices": self.matrices, "progress": NO_PROGRESS, "cache": self.cache}


class _Run:
    """One run over the cells that have no row yet."""

    def __init__(
        self,
        job: CellJob,
        cells: Mapping[str, Cell],
        results: Results,
        folder: Path | None = None,
        leases: Leases | None = None,
        until: float = math.inf,
    ) -> None:
        self._job, self._cells, self._results, self._folder, self._leases = job, cells, results, folder, leases
        self._until = until
        self._running: set[str] = set()
        self._failed = 0
        self._finished_before, self._started = len(results), time.monotonic()

    def run(self, map: Runner) -> None:
        """Run all cells. Cells of other processes are waited for until they have a row or a free lease."""
        left = [key for key in self._cells if key not in self._results]
        self._report()
        while left and self._in_time():
            with contextlib.closing(_generator(map(self._job, self._claimed(left)))) as rows:
                for row in rows:
                    self._add(row)
            left = [key for key in left if key not in self._results]
            if left and self._in_time():
                time.sleep(POLL)

    def _in_time(self) -> bool:
        return time.monotonic() < self._until

    def _claimed(self, fingerprints: list[str]) -> Iterator[Cell]:
        """Yield the cells that no other process is running, each claimed when the runner takes it."""
        for fingerprint in fingerprints:
            if not self._in_time():
                return
            if self._leases is None or self._leases.claim(fingerprint):
                row = self._stored(fingerprint)
                if row is None:
                    self._running.add(fingerprint)
                    self._report()
                    yield self._cells[fingerprint]
                else:
                    self._release(fingerprint)
                    self._results.add(row)

    def _stored(self, fingerprint: str) -> Row | None:
        """Return the row that another process has written in the meantime."""
        if self._folder is None:
            return None
        row = Results.find(self._folder, fingerprint)
        return None if row is None or row.error else row

    def _add(self, row: Row) -> None:
        self._results.add(row, self._folder)
        self._release(row.fingerprint)
        self._running.discard(row.fingerprint)
        self._failed += bool(row.error)
        self._report()

    def _release(self, fingerprint: str) -> None:
        if self._leases is not None:
            self._leases.release(fingerprint)

    def _report(self) -> None:
        done = len(self._results)
        new = done - self._finished_before
        left = (time.monotonic() - self._started) / new * (len(self._cells) - done) if new else None
        self._job.progress.cells(done, len(self._cells), running=len(self._running), failed=self._failed, left=left)


def _generator(rows: Iterable[Row]) -> Generator[Row]:
    """Yield the rows. Closing this generator closes a runner that is a generator, so that it cleans up."""
    yield from rows
