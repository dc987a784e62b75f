"""What commands share: where results go, and which part of a data set is meant."""

from pathlib import Path
from typing import TYPE_CHECKING

from feint.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from feint.data import Split


def free(out: Path) -> None:
    if out.exists():
        raise BadInput(f"--out {out}, which exists", "a new directory", "choose another, or delete it to run again")


def at_least(least: int, number: int, name: str) -> int:
    if number < least:
        raise BadInput(f"{number} {name}", f"{least} or more", "raise it")
    return number


class working:  # noqa: N801
    """A directory beside `out` for what an interrupted job continues from; it goes when the job is done."""

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f".{out.name}.partial")

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import shutil

        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)


def pool_of(name: str) -> "Split":
    from feint import data

    name, _, part = name.partition("/")
    images = data.load(name)
    if part not in ("", "train", "pool"):
        raise BadInput(f"the part {part!r} of {name}", "NAME, NAME/train or NAME/pool", "a thief has no test set")
    return images.train if part == "train" else images.pool


def part_of(name: str) -> "Split":
    """The inputs that an owner names: the training part, unless it is NAME/PART or, of that, NAME/PART:I/OF."""
    import re

    from feint import data

    name, _, part = name.partition("/")
    found = re.fullmatch(r"(train|pool|test)(?::(\d+)/(\d+))?", part or "train")
    if found is None:
        known = "NAME, NAME/train, NAME/pool or NAME/test, or a share of one like NAME/test:0/2"
        raise BadInput(f"the part {part!r} of {name}", known, "name one of these")
    split: Split = getattr(data.load(name), found[1])
    return split.share(int(found[2]), int(found[3])) if found[2] else split


def victim_of(place: str, data: str | None, network: str | None, probabilities: bool) -> "nn.Module":
    """The victim at a place; `network` is that of its weights where they come alone, for the images of `data`."""
    from feint import networks, victims
    from feint.data import load

    known = networks.get(network, load(data.partition("/")[0])) if network and data else None
    return victims.load_any(place, network=known, probabilities=probabilities)
