"""Where named data sets come from."""

import os
from dataclasses import dataclass
from pathlib import Path

from feint.data import readers
from feint.errors import UnknownName


@dataclass(frozen=True)
class Source:
    """Where a named set comes from, and what an attacker would ask about when he steals a model of it."""

    hub: str | None = None
    size: int | None = None  # images of many sizes are cut to their centre square and scaled to this
    pool: str | None = None  # the set whose training images are the pool; None: a part of its own is held out


SOURCES = {
    "digits": Source(),
    "fashion_mnist": Source("zalando-datasets/fashion_mnist"),
    "cifar10": Source("uoft-cs/cifar10", pool="cifar100"),
    "cifar100": Source("uoft-cs/cifar100", pool="cifar10"),
    "gtsrb": Source("tanganke/gtsrb", size=32, pool="cifar100"),
    "caltech101": Source("flwrlabs/caltech101", size=64),
    "caltech256": Source("ilee0022/Caltech-256", size=64),
    "cub200": Source("bentrevett/caltech-ucsd-birds-200-2011", size=64),
}
HELD_OUT = {"digits": 0.5}  # share of the training images that becomes the pool where no other set is named
HELD_OUT_DEFAULT = 1 / 6


def known() -> list[str]:
    """The names of all data sets: those that Feint knows, and those in the directory FEINT_DATA."""
    root = os.environ.get("FEINT_DATA")
    return sorted({*SOURCES, *(it.name for it in Path(root or ".").expanduser().glob("*/") if root)})


def find(name: str, source: Source, size: int | None) -> tuple[readers.Reader, object]:
    """How to read the set `name`, and what stands for its origin: a change there makes a new cache."""
    root = os.environ.get("FEINT_DATA")
    folder = Path(root).expanduser() / name if root else None
    if name == "digits":
        return readers.read_digits, "digits"
    if folder is not None and folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        marks = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return lambda: readers.read_folder(folder, size), [str(folder.resolve()), marks]
    if name == "fashion_mnist" and readers.DEBIAN_FASHION.is_dir():
        return readers.read_debian_fashion, str(readers.DEBIAN_FASHION)
    if source.hub is None:
        raise UnknownName.among("data set", name, known())
    return lambda: readers.read_hub(name, str(source.hub), size), source.hub
