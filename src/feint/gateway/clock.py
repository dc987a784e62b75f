"""Clock that replicas have in common, because it follows that of their store."""

import time


class StoreClock:
    """Clock that follows a store's, however wrong the clock of this machine is.

    A store reads its clock after a command was sent and before the reply came, which bounds the difference between the
    two clocks. Each exchange changes the known difference by the least amount that agrees with these bounds (Marzullo
    and Owicki, PODC 1983, with one server). It is then wrong by less than the round trip.
    """

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def now(self) -> float:
        """Return the store's time, in seconds since the epoch."""
        return time.monotonic() + self._ahead

    def follow(self, shown: float, sent: float, received: float) -> None:
        """Follow the store.

        Args:
            shown: Time that the store's clock showed, in seconds since the epoch.
            sent: Monotonic time before the command was sent.
            received: Monotonic time after the reply came.
        """
        self._ahead = min(max(self._ahead, shown - received), shown - sent)
