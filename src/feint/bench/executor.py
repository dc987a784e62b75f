"""The bench: the cells of matrices, each run once, by whoever comes first; a row for every cell."""

import contextlib
import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from feint.errors import one_line
from feint.evaluation.locks import Leases
from feint.evaluation.results import Cell, Results, Row
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.runners import Runner

LOOK = 1.0  # seconds after which to look again whether others have finished their cells


class CellRunner(Protocol):
    """What is run: a `Matrix`."""

    name: str

    def cells(self) -> list[Cell]: ...

    def fingerprint(self, cell: Cell) -> str: ...

    def row(self, cell: Cell, *, progress: ProgressCallback = NO_PROGRESS) -> Row: ...

    def failed(self, cell: Cell, error: str) -> Row: ...


def run(
    matrices: Iterable[CellRunner],
    *,
    folder: Path | str | None = None,
    map: Runner = map,
    progress: ProgressCallback = NO_PROGRESS,
    until: float = math.inf,
) -> Results:
    """The rows of all cells of `matrices`. Those in `folder` are not run again, and new ones are written there.
    From `until` on, in seconds of `time.monotonic`, no further cell is begun.

    Several processes and machines may share a folder: each takes the cells that no other is running. A cell that fails
    is a row with its error, and is run again by the next call. Raises `NotWritten` where a row cannot be written.
    """
    job, folder = (
        CellJob({matrix.name: matrix for matrix in matrices}, progress),
        None if folder is None else Path(folder),
    )
    cells = {matrix.fingerprint(cell): cell for matrix in job.matrices.values() for cell in matrix.cells()}
    results = Results.load(folder) if folder is not None else Results()
    results = results.of(it for it in cells if it in results and not results[it].error)
    if folder is None:
        _Run(job, cells, results, until=until).over(map)
    elif len(results) < len(cells):
        with Leases(folder / ".leases") as leases:
            _Run(job, cells, results, folder, leases, until).over(map)
    return results.of(cells)


@dataclass(frozen=True)
class CellJob:
    """How a cell is run, wherever it is: what a worker needs of the bench."""

    matrices: Mapping[str, CellRunner]
    progress: ProgressCallback

    def __call__(self, item: Cell) -> Row:
        matrix = self.matrices[item.victim]
        try:
            return matrix.row(item, progress=self.progress)
        except Exception as error:  # whatever it is: the other cells go on, and the row says it
            return matrix.failed(item, f"{type(error).__name__}: {one_line(error)}")

    def lost(self, item: Cell, reason: str) -> Row:
        """The row of a cell whose process ended without one."""
        return self.matrices[item.victim].failed(item, reason)

    def __getstate__(self) -> dict[str, object]:
        """What a pickle carries: a watch that only knows its folder, since no one looks at a worker."""
        return {"matrices": self.matrices, "progress": ProgressCallback(self.progress.folder)}


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
        self._had, self._started = len(results), time.monotonic()

    def over(self, map: Runner) -> None:
        """Run all cells; those of others are looked at again until they have a row or no one runs them any more."""
        left = [it for it in self._cells if it not in self._results]
        self._tell()
        while left and self._in_time():
            with contextlib.closing(_generator(map(self._job, self._mine(left)))) as rows:
                for row in rows:
                    self._enter(row)
            left = [it for it in left if it not in self._results]
            if left and self._in_time():
                time.sleep(LOOK)

    def _in_time(self) -> bool:
        return time.monotonic() < self._until

    def _mine(self, fingerprints: list[str]) -> Iterator[Cell]:
        """Those that no other is running, each claimed when there is room for it."""
        for fingerprint in fingerprints:
            if not self._in_time():
                return
            if self._leases is None or self._leases.claim(fingerprint):
                row = self._elsewhere(fingerprint)
                if row is None:
                    self._running.add(fingerprint)
                    self._tell()
                    yield self._cells[fingerprint]
                else:
                    self._release(fingerprint)
                    self._results.add(row)

    def _elsewhere(self, fingerprint: str) -> Row | None:
        """The row that another process has written in the meantime."""
        if self._folder is None:
            return None
        row = Results.find(self._folder, fingerprint)
        return None if row is None or row.error else row

    def _enter(self, row: Row) -> None:
        self._results.add(row, self._folder)
        self._release(row.fingerprint)
        self._running.discard(row.fingerprint)
        self._failed += bool(row.error)
        self._tell()

    def _release(self, fingerprint: str) -> None:
        if self._leases is not None:
            self._leases.release(fingerprint)

    def _tell(self) -> None:
        done = len(self._results)
        new = done - self._had
        left = (time.monotonic() - self._started) / new * (len(self._cells) - done) if new else None
        self._job.progress.cells(done, len(self._cells), running=len(self._running), failed=self._failed, left=left)


def _generator(rows: Iterable[Row]) -> Generator[Row]:
    """`rows` as a generator, which can be closed: a runner that is one clears up behind it."""
    yield from rows
