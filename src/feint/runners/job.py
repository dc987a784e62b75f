"""Interfaces of jobs and runners."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Job(Protocol[Item, Result]):
    """Function of one item. It raises no error: a failure is a result, too."""

    def __call__(self, item: Item) -> Result:
        """Return the result for `item`."""
        ...

    def lost(self, item: Item, reason: str) -> Result:
        """Return the result for an item whose process ended without one, for this `reason`."""
        ...


Runner = Callable[[Job[Any, Any], Iterable[Any]], Iterable[Any]]


def use_threads(count: int) -> None:
    """Limit this worker to `count` threads, so that all workers together have one for each core."""
    os.environ["OMP_NUM_THREADS"] = str(count)  # for later imports: a worker may need no torch
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
