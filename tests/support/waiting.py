"""Waiting by polling, so that no test depends on how busy the machine is."""

import time
from collections.abc import Callable

PATIENCE = 60.0  # seconds; a test that waits as long has failed


def eventually(true: Callable[[], object], *, seconds: float = PATIENCE, pause: float = 0.02) -> None:
    """Return when `true()` is; raise `AssertionError` after so many seconds. An exception of `true` ends it too."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it did not become true within {seconds:.0f} seconds"
        time.sleep(pause)
