"""Progress of a scene, on stderr."""

import sys
import time

BEGUN = time.monotonic()


def print_line(*words: object) -> None:
    """Print a line that begins with the seconds since the start."""
    print(f"{time.monotonic() - BEGUN:6.1f} s ", *words, file=sys.stderr, flush=True)
