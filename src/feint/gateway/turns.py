"""Turns of the event loop, in which requests of several clients come together."""

import asyncio


class Company:
    """Forecast of whether others come in the same turn of the loop, by the last turn in which anybody came.

    Work that is done for several at once waits for the end of the turn, and then for the next one: two turns that a
    client who asks alone need not wait.
    """

    def __init__(self) -> None:
        self._together, self._count = True, 0

    def expected(self) -> bool:
        """Count one that comes now; return whether others are here, or are expected to come in this turn."""
        self._count += 1
        if self._count == 1:
            asyncio.get_running_loop().call_soon(self._turn_over)
        return self._together or self._count > 1

    def _turn_over(self) -> None:
        self._together, self._count = self._count > 1, 0
