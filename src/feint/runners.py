"""How jobs are mapped: here one after the other, in processes of this machine, or on Ray.

Each runner takes a job and the items that it is to be run on, and yields what comes of them as it comes, in any order;
Python's own `map` is one. Items are taken one by one, as there is room for them: whoever hands them out decides late.
"""

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
