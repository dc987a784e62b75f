"""Cache directory of trainings and of batches of answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_DIRECTORY: ContextVar[Path | None] = ContextVar("cache directory", default=None)


@contextmanager
def cached_in(directory: Path | None) -> Iterator[None]:
    """Cache trainings and batches of answers in a directory while the block runs; None caches nothing.

    An interrupted training continues from its checkpoint there. One that was completed on the same data, with the same
    recipe and seed, is loaded instead of repeated. The setting belongs to this thread: a job for other processes
    carries `cache_directory()` along and enters it there.
    """
    token = _DIRECTORY.set(directory)
    try:
        yield
    finally:
        _DIRECTORY.reset(token)


def cache_directory() -> Path | None:
    """Return the directory of the innermost `cached_in`, or None outside of any."""
    return _DIRECTORY.get()
