"""Progress callback of long jobs."""


class ProgressCallback:
    """Callback of a long job. This one ignores every call; subclasses display progress."""

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

    def trained(self, inputs: int, seconds: float) -> None:
        """Report that an epoch of a training saw so many `inputs` in so many seconds."""


NO_PROGRESS = ProgressCallback()
