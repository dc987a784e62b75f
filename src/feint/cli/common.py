"""What commands share: where results go, and how many of a thing there must be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from feint.errors import BadInput

if TYPE_CHECKING:
    from torch import nn


def require_new(out: Path) -> None:
    if out.exists():
        raise BadInput(f"--out {out}, which exists", "a new directory", "choose another, or delete it to run again")


def require_at_least(least: int, number: int, name: str) -> int:
    if number < least:
        raise BadInput(f"{number} {name}", f"{least} or more", "raise it")
    return number


@contextmanager
def work_directory(out: Path) -> Iterator[Path]:
    """Yield a directory beside `out` for what an interrupted job continues from; delete it when the job is done."""
    import shutil

    folder = out.with_name(f".{out.name}.partial")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def load_victim(place: str, data: str | None, network: str | None, probabilities: bool) -> "nn.Module":
    """The victim at a place; `network` is that of its weights where they come alone, for the images of `data`."""
    from feint import victims
    from feint.data import load
    from feint.models import networks

    known = networks.get(network, load(data.partition("/")[0])) if network and data else None
    return victims.load_any(place, network=known, probabilities=probabilities)
