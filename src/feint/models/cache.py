"""Cache directory of trainings, of batches of answers, and of tensors that a recipe determines."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import safetensors.torch
from torch import Tensor

from feint.recipes.recipe import fingerprint, to_table
from feint.recipes.store import atomic_write

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


def cached_tensors(recipe: object, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Return the tensors that `make` returns; from the cache directory, where there is one and it has them.

    Args:
        recipe: Recipe that determines them.
        make: Makes the tensors, by name.

    Returns:
        The tensors by name.
    """
    directory = cache_directory()
    if directory is None:
        return make()
    file = directory / f"{fingerprint(to_table(recipe))}.safetensors"
    if not file.exists():
        with atomic_write(file) as partial:
            safetensors.torch.save_file(dict(make()), partial)
    return safetensors.torch.load_file(file)
