"""What a scene says while it runs."""

import sys
import time

BEGUN = time.monotonic()


def told(*words: object) -> None:
    """A line with the seconds since the start, on stderr."""
    print(f"{time.monotonic() - BEGUN:6.1f} s ", *words, file=sys.stderr, flush=True)
