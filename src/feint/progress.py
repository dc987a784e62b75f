"""Progress callback of long jobs."""

from pathlib import Path


class ProgressCallback:
    """Callback of a long job. This one ignores every call; subclasses display progress.

    Attributes:
        folder: Directory in which trainings and batches of answers are cached, or None. An interrupted training
            continues from its checkpoint there. One that was completed on the same data, with the same recipe and seed,
            is loaded instead of repeated.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def step(self, what: str, done: int, total: int) -> None:
        """Report that `done` of `total` steps of the phase `what` are complete."""

    def cells(self, done: int, total: int, *, running: int, failed: int, left: float | None) -> None:
        """Report the state of a bench.

        Args:
            done: Number of completed cells.
            total: Number of all cells.
            running: Number of cells that run now.
            failed: Number of cells that failed.
            left: Estimated seconds until the end, or None where there is no estimate yet.
        """
        self.step("cells", done, total)


NO_PROGRESS = ProgressCallback()
