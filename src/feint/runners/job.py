"""What a runner runs, and what it is."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Job(Protocol[Item, Result]):
    """What is run on every item. It raises nothing: what fails is a result, too."""

    def __call__(self, item: Item) -> Result: ...

    def lost(self, item: Item, reason: str) -> Result:
        """The result for an item whose process ended without one."""
        ...


Runner = Callable[[Job[Any, Any], Iterable[Any]], Iterable[Any]]


def use_threads(count: int) -> None:
    """Let this worker compute with `count` threads: those of all workers together are as many as the cores."""
    os.environ["OMP_NUM_THREADS"] = str(count)  # for what is yet to be imported: a worker that needs no torch has none
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
