"""Sources of named data sets."""

import os
from dataclasses import dataclass
from pathlib import Path

from feint.data import readers
from feint.errors import UnknownName


@dataclass(frozen=True)
class Source:
    """Source of a named data set.

    Attributes:
        hub: Name on the Hugging Face hub.
        size: Height and width, for sets of images of many sizes: their centre squares are scaled.
        pool: Data set whose training images are the attacker's pool. None holds out a share of the training images.
    """

    hub: str | None = None
    size: int | None = None
    pool: str | None = None


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
HELD_OUT = {"digits": 0.5}  # share of the training images that becomes the pool where no other set does
HELD_OUT_DEFAULT = 1 / 6


def known() -> list[str]:
    """Return the names of all data sets: Feint's own, and those in the directory FEINT_DATA."""
    root = os.environ.get("FEINT_DATA")
    return sorted({*SOURCES, *(folder.name for folder in Path(root or ".").expanduser().glob("*/") if root)})


def find(name: str, source: Source, size: int | None) -> tuple[readers.Reader, object]:
    """Return the reader of the data set `name`, and a description of its origin, on which the cache depends."""
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
