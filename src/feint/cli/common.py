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


def load_victim(place: str, data: str | None, network: str | None, probabilities: bool) -> "nn.Module":
    """Load the victim at `place`.

    Args:
        place: Directory, file, or package.module:factory.
        data: Data set whose image shape and classes `network` takes.
        network: Network of the weights, for a file of weights alone.
        probabilities: Whether the model returns probabilities, not logits.

    Returns:
        The victim, a module from images to logits.
    """
    from feint import victims
    from feint.data import load
    from feint.models import networks

    known = networks.get(network, load(data.partition("/")[0])) if network and data else None
    return victims.load_any(place, network=known, probabilities=probabilities)
