"""What the commands show in a terminal: progress while they run, and tables."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from feint.evaluation.results import Results
from feint.evaluation.summary import HEADS, cells, worst_case
from feint.watch import Watch

WIDTH = 124  # of a table where the output is no terminal


class Bars(Watch):
    """A progress bar for each kind of step that was heard of."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def step(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)


@contextmanager
def bars() -> Iterator[Watch]:
    """A watch that shows progress bars on standard error; a silent one where that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Watch()
        return
    columns = TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


def print_results(results: Results) -> None:
    """The table of all thefts, the worst case for each defense in bold."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, head in enumerate(HEADS):
        table.add_column(head, justify="left" if i < 2 else "right")
    worst = [worst_case(results, defense) for defense in results.names("defense")]
    last = ""
    for line in results.lines():
        if last and line.defense != last:
            table.add_section()
        shown = cells(line)
        shown[0] = "" if line.defense == last else shown[0]
        last = line.defense
        table.add_row(*shown, style="bold" if line in worst else None)
    console.print(table)
    console.print(
        "Accuracies in % with 95 % intervals; KL in nats; milliseconds per 1,000 queries. Bold: the worst case."
    )
