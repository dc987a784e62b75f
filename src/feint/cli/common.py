"""Helpers of several commands: checks of options, work directories and victims."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from feint.errors import BadInput

if TYPE_CHECKING:
    from torch import nn


def require_new(out: Path) -> None:
    """Raise `BadInput` if --out exists."""
    if out.exists():
        raise BadInput(f"--out {out}, which exists", "a new directory", "choose another, or delete it to run again")


def require_at_least(least: int, number: int, name: str) -> int:
    """Return `number`, or raise `BadInput` if it is below `least`."""
    if number < least:
        raise BadInput(f"{number} {name}", f"{least} or more", "raise it")
    return number


@contextmanager
def work_directory(out: Path) -> Iterator[Path]:
    """Yield a directory beside `out` that caches the trainings of a job, and delete it when the job is done."""
    import shutil

    from feint.models.cache import cached_in

    folder = out.with_name(f".{out.name}.partial")
    with cached_in(folder):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def load_victim(place: str, data: str | None, network: str | None) -> "nn.Module":
    """Load the victim at `place`.

    Args:
        place: model.toml, directory, file, or package.module:name.
        data: Data set whose domain counts where the victim leaves its inputs open, and for `network`.
        network: Network of the weights, for a file of weights alone.

    Returns:
        The victim, a module from inputs to logits.
    """
    from feint import victims
    from feint.data import load
    from feint.models import networks

    if data is None or (network is None and victims.is_own(place)):
        return victims.load_any(place)
    images = load(data if Path(data).exists() else data.partition("/")[0])
    known = networks.get(network, images) if network else None
    return victims.load_any(place, network=known, domain=images.domain)

