"""Limit of log lines of one kind, so that nobody fills a disk by being refused."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Kind = TypeVar("Kind", bound=Hashable)


class Throttle(Generic[Kind]):
    """Lets the first lines of each kind pass in a window of time, and counts the others.

    Args:
        most: Lines of one kind that pass.
        window: Length of a window, in seconds.
        kinds: Kinds that are remembered at once.
    """

    def __init__(self, *, most: int = 20, window: float = 10.0, kinds: int = 1000) -> None:
        self._most, self._window, self._limit = most, window, kinds
        self._counts: OrderedDict[Kind, list[float]] = OrderedDict()  # since when, how many

    def admits(self, kind: Kind, now: float) -> bool:
        """Return whether a line passes; every line is asked for, after what is `over` was taken."""
        counted = self._counts.setdefault(kind, [now, 0])
        counted[1] += 1
        return counted[1] <= self._most

    def over(self, now: float) -> Iterator[tuple[Kind, int]]:
        """Yield each kind whose window is over at `now`, the oldest first, and how many of its lines did not pass."""
        while self._counts:
            kind, (since, count) = next(iter(self._counts.items()))
            if now - since < self._window and len(self._counts) <= self._limit:
                return
            del self._counts[kind]
            if count > self._most:
                yield kind, int(count) - self._most
