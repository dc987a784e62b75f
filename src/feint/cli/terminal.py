"""Terminal output of the commands: progress bars, log lines and tables."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from feint.evaluation.results import Results
from feint.evaluation.robust import robust
from feint.progress import ProgressCallback
from feint.report.summary import HEADS, cells, worst_case

WIDTH = 124  # of a table, if the output is no terminal
LOG_INTERVAL = 30.0  # seconds


class Bars(ProgressCallback):
    """Progress callback that shows a bar for each kind of step."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def step(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, state="")
        self._progress.update(self._tasks[what], completed=done, total=total)

    def cells(self, done: int, total: int, *, running: int, failed: int, left: float | None) -> None:
        self.step("cells", done, total)
        self._progress.update(self._tasks["cells"], state=_state(running, failed, left))


class Lines(ProgressCallback):
    """Progress callback for logs: a line on standard error every 30 seconds at most.

    Lines are of single steps until cells are run, and then of cells alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last = -math.inf
        self._running = False

    def step(self, what: str, done: int, total: int) -> None:
        if not self._running:
            self._write(f"{what}: {done:,} of {total:,}")

    def cells(self, done: int, total: int, *, running: int, failed: int, left: float | None) -> None:
        state = _state(running, failed, left)
        self._write(
            f"cells: {done:,} of {total:,} done{state and f', {state}'}", now=done == total or not self._running
        )
        self._running = True

    def _write(self, line: str, *, now: bool = False) -> None:
        if now or time.monotonic() - self._last >= LOG_INTERVAL:
            self._last = time.monotonic()
            sys.stderr.write(f"{line}\n")


def _state(running: int, failed: int, left: float | None) -> str:
    parts = []
    if running:
        parts.append(f"{running:,} running")
    if failed:
        parts.append(f"{failed:,} failed")
    if left:
        parts.append(f"{timedelta(seconds=round(left))} left")
    return ", ".join(parts)


@contextmanager
def bars(elsewhere: Callable[[], ProgressCallback] = ProgressCallback) -> Iterator[ProgressCallback]:
    """Yield a callback that shows bars on standard error, or one made by `elsewhere` if that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield elsewhere()
        return
    state = TextColumn("{task.fields[state]}")
    columns = TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), state
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


def print_robust(results: Results) -> None:
    """Print robust stealer accuracy in percent, a line for each defense of one victim; empty if not measured."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    heads = "Defense", "Queries", "Robust stealer accuracy", "by", "Seeds", "Naive", "Defender accuracy"
    for head in heads:
        table.add_column(head, justify="left" if head in ("Defense", "by") else "right")
    for defense in results.names("defense"):
        worst, utility = robust(results, defense), results.utility(defense)
        accuracy = f"{100 * utility['defender_accuracy']:.2f}" if utility else ""
        if worst is None:
            table.add_row(defense, "", "", "", "", "", accuracy)
            continue
        shown = f"{100 * worst.share:.1f} ({100 * worst.low:.1f}–{100 * worst.high:.1f})"
        naive = "" if worst.naive is None else f"{100 * worst.naive:.1f}"
        table.add_row(defense, f"{worst.budget:,}", shown, worst.attack, f"{worst.seeds}", naive, accuracy)
    _console().print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def print_results(results: Results) -> None:
    """Print the table of all thefts, with the worst case for each defense in bold."""
    console = _console()
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
