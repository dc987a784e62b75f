"""What a long job tells while it runs, and where it keeps its place."""

from pathlib import Path


class ProgressCallback:
    """A watcher that says nothing. With a `folder`, trainings are kept there: an interrupted one continues, and one
    that was already done on the same data with the same recipe and seed is not done again."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def step(self, what: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what` are behind us."""

    def cells(self, done: int, total: int, *, running: int, failed: int, left: float | None) -> None:
        """How a bench stands: cells `done` of `total`, `running`, `failed`, and seconds `left`, where that is known."""
        self.step("cells", done, total)


NO_PROGRESS = ProgressCallback()
