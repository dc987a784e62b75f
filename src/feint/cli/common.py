"""What commands share: where results go, and how many of a thing there must be."""

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


class work_directory:  # noqa: N801
    """A directory beside `out` for what an interrupted job continues from; it goes when the job is done."""

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f".{out.name}.partial")

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import shutil

        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)


def load_victim(place: str, data: str | None, network: str | None, probabilities: bool) -> "nn.Module":
    """The victim at a place; `network` is that of its weights where they come alone, for the images of `data`."""
    from feint import victims
    from feint.data import load
    from feint.models import networks

    known = networks.get(network, load(data.partition("/")[0])) if network and data else None
    return victims.load_any(place, network=known, probabilities=probabilities)
