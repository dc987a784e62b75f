"""Named data sets: images as uint8 in memory-mapped files, decoded to float32 in [0, 1] a batch at a time.

`load(name)` looks, in this order, at the set that ships with Feint (`digits`), at a directory `FEINT_DATA/name`
(Parquet files in the Hugging Face hub's layout, or an image folder train/CLASS/*.jpg), at Debian's package for
Fashion-MNIST, and at the hub. What it decoded is kept under `FEINT_CACHE` (by default ~/.cache/feint), so the second
load only maps files.
"""

import functools
import gzip
import hashlib
import importlib.resources
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feint._optional import require
from feint.errors import BadInput, DamagedFile, FeintError, MissingData, MixedSizes, UnknownName
from feint.recipes.recipe import fingerprint
from feint.recipes.store import atomic_write

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # from the package dataset-fashion-mnist
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
LABELS = "label", "fine_label", "labels"  # columns that hold the class, the first one found


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


@dataclass(frozen=True)
class Split:
    """A part of a data set, by handle: `Split("digits", "pool", fingerprint=…)` is found again by its name.

    `images` (N, C, H, W) uint8 and `labels` (N,) int64 are read when they are first used.
    """

    name: str
    part: str
    fingerprint: str

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, *, name: str = "memory", part: str = "all") -> "Split":
        """A split of arrays in memory: images (N, C, H, W) uint8, labels (N,) integers."""
        if images.ndim != 4 or images.dtype != np.uint8 or len(images) != len(labels):
            raise BadInput(
                f"images of shape {images.shape} and type {images.dtype} with {len(labels)} labels",
                "(N, C, H, W) uint8 and N labels",
                "scale them to 0…255",
            )
        split = cls(name, part, _digest(images, labels))
        split.__dict__["arrays"] = images, labels.astype(np.int64)  # where cached_property would put them
        return split

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels; raises `MissingData` or `DamagedFile` where they are no longer those of the handle."""
        part, _, share = self.part.partition(":")
        found: Split = getattr(load(self.name), part)
        if share:
            found = found.share(*map(int, share.split("/")))
        if found.fingerprint != self.fingerprint:
            raise DamagedFile(f"{found!r}", f"{self!r}", "find the data that the recipe was made with")
        return found.arrays

    @property
    def images(self) -> np.ndarray:
        return self.arrays[0]

    @property
    def labels(self) -> Tensor:
        return torch.from_numpy(np.array(self.arrays[1]))

    def share(self, i: int, of: int) -> "Split":
        """Every `of`-th row from row `i` on: `share(0, 2)` and `share(1, 2)` are the two halves."""
        if not 0 <= i < of or ":" in self.part:
            raise BadInput(f"share {i} of {of} of {self.part}", "0 ≤ i < of, of a whole part", "change it")
        return Split.of(self.images[i::of], self.arrays[1][i::of], name=self.name, part=f"{self.part}:{i}/{of}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an input."""
        return self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def inputs(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """The chosen inputs (n, C, H, W), float32 in [0, 1]."""
        chosen = rows.numpy() if isinstance(rows, Tensor) else rows
        return decode(torch.from_numpy(np.array(self.images[chosen])))

    def __getstate__(self) -> dict[str, object]:
        """What a pickle carries: the handle alone where the arrays are files, which the other side maps for itself."""
        mapped = isinstance(self.__dict__.get("arrays", (None,))[0], np.memmap)
        return {name: value for name, value in self.__dict__.items() if not (mapped and name == "arrays")}


def decode(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]; floating-point ones as they are."""
    return images if images.is_floating_point() else images.float().div_(255)


@dataclass(frozen=True)
class Dataset:
    """A named classification set: `train` and `test`, and the `pool` of inputs that an attacker of it would own."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    held_out: Split | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an input."""
        return self.train.shape

    @cached_property
    def pool(self) -> Split:
        """Images that the victim was not trained on: held out here, or the training part of another set."""
        return self.held_out or load(SOURCES[self.name.partition("@")[0]].pool or "").train


Parts = dict[str, tuple[np.ndarray, np.ndarray]]
Reader = Callable[[], tuple[Parts, tuple[str, ...]]]


def known() -> list[str]:
    """The names of all data sets: those that Feint knows, and those in the directory FEINT_DATA."""
    root = os.environ.get("FEINT_DATA")
    return sorted({*SOURCES, *(it.name for it in Path(root or ".").expanduser().glob("*/") if root)})


@functools.cache
def load(name: str, *, size: int | None = None) -> Dataset:
    """The data set `name`; `size`, or NAME@SIZE, scales its images to size×size pixels.

    Raises `UnknownName`, `MissingData` (what to install, download or set) or `BadInput`.
    """
    name, _, scaled = name.partition("@")
    if size is None and scaled.isdigit():
        size = int(scaled)
    source, title = SOURCES.get(name, Source()), name if size is None else f"{name}@{size}"
    size = size or source.size
    reader, origin = _find(name, source, size)
    key = fingerprint([1, origin, size], 12)
    folder = Path(os.environ.get("FEINT_CACHE", Path.home() / ".cache" / "feint")) / f"{name}-{key}"
    if not (folder / "about.json").exists():
        parts, classes = reader()
        if source.pool is None:
            parts["train"], parts["held_out"] = _divide(*parts["train"], HELD_OUT.get(name, HELD_OUT_DEFAULT))
        _keep(folder, parts, classes)
    return _open(title, folder)


def _find(name: str, source: Source, size: int | None) -> tuple[Reader, object]:
    """How to read the set `name`, and what stands for its origin: a change there makes a new cache."""
    root = os.environ.get("FEINT_DATA")
    folder = Path(root).expanduser() / name if root else None
    if name == "digits":
        return _read_digits, "digits"
    if folder is not None and folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        marks = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return lambda: _read_folder(folder, size), [str(folder.resolve()), marks]
    if name == "fashion_mnist" and DEBIAN_FASHION.is_dir():
        return _read_debian_fashion, str(DEBIAN_FASHION)
    if source.hub is None:
        raise UnknownName.among("data set", name, known())
    return lambda: _read_hub(name, str(source.hub), size), source.hub


def _read_digits() -> tuple[Parts, tuple[str, ...]]:
    """1,797 handwritten digits of 8×8 pixels and 17 grey levels (UCI, CC BY 4.0); a fifth of them for testing."""
    with importlib.resources.files("feint").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = np.round(arrays["images"] * (255 / 16)).astype(np.uint8)[:, None], arrays["labels"]
    train, test = _divide(images, labels, 0.2)
    return {"train": train, "test": test}, tuple("0123456789")


def _read_debian_fashion() -> tuple[Parts, tuple[str, ...]]:
    def array(file: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((DEBIAN_FASHION / file).read_bytes()), np.uint8, offset=header)

    def part(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        images = array(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
        return images, array(f"{prefix}-labels-idx1-ubyte.gz", 8)

    return {"train": part("train"), "test": part("t10k")}, tuple(FASHION)


def _read_folder(folder: Path, size: int | None) -> tuple[Parts, tuple[str, ...]]:
    datasets = require("datasets", "data")
    files = {part: sorted(map(str, folder.rglob(f"{part}*.parquet"))) for part in ("train", "test")}
    try:
        if all(files.values()):
            return _decode(datasets.load_dataset("parquet", data_files=files, streaming=True), size)
        if all((folder / part).is_dir() for part in files):
            return _decode(datasets.load_dataset("imagefolder", data_dir=str(folder), streaming=True), size)
    except (OSError, ValueError, RuntimeError) as error:  # what the readers of Parquet and images raise
        if isinstance(error, FeintError):
            raise
        raise DamagedFile(f"{folder} ({error})", "readable Parquet or image files", "fetch them again") from error
    raise MissingData(
        f"{folder} without both parts", "train-*.parquet and test-*.parquet, or train/CLASS/*.jpg and test/CLASS/*.jpg",
        "bring the data into one of these forms",
    )  # fmt: skip


def _read_hub(name: str, hub: str, size: int | None) -> tuple[Parts, tuple[str, ...]]:
    datasets = require("datasets", "data")
    try:
        return _decode(datasets.load_dataset(hub, streaming=True), size)
    except (OSError, RuntimeError) as error:
        remedy = "download it there and set FEINT_DATA to the directory that holds it, or go online"
        if name == "fashion_mnist":
            remedy += ", or `apt-get install dataset-fashion-mnist`"
        raise MissingData(
            f"no data set {name!r} ({type(error).__name__} from the hub's {hub})",
            f"FEINT_DATA/{name}/train-*.parquet and test-*.parquet, or a connection to the hub",
            remedy,
        ) from error


def _decode(parts: Any, size: int | None) -> tuple[Parts, tuple[str, ...]]:
    """Arrays of a `datasets` dictionary of splits, and the classes."""
    train, names = decode_part(parts["train"], size)
    test, _ = decode_part(parts["test"] if "test" in parts else parts["validation"], size)
    return {"train": train, "test": test}, names or tuple(str(i) for i in range(train[1].max() + 1))


def decode_part(
    part: Any, size: int | None, *, labelled: bool = True
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[str, ...]]:
    """Arrays of one split of `datasets`: its image column and its label column, whatever their names, and the classes
    where it names them. Without labels, where none are needed, they are 0. Raises `BadInput`."""
    datasets = require("datasets", "data")
    features = part.features
    image = next((name for name, it in features.items() if isinstance(it, datasets.Image)), None)
    image = image or next((name for name in ("image", "img") if name in features), None)
    label = next((name for name in LABELS if name in features), None)
    if image is None or (label is None and labelled):
        raise BadInput(f"columns {', '.join(features)}", "an image and a label", "rename them to image and label")
    rows = part.cast_column(image, datasets.Image())
    pairs = [(_pixels(row[image], size), row[label] if label else 0) for row in rows]
    if len({pixels.shape for pixels, _ in pairs}) > 1:
        raise MixedSizes("images of several sizes", "one size", "load the set with a size, in pixels")
    if not pairs:
        raise BadInput("no images", "one at least", "check the directory")
    images = np.stack([pixels for pixels, _ in pairs])
    images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    names = tuple(getattr(features[label], "names", None) or ()) if label else ()
    return (np.ascontiguousarray(images), np.array([label for _, label in pairs], np.int64)), names


def _pixels(image: Any, size: int | None) -> np.ndarray:
    """A Pillow image as (H, W) or (H, W, 3) uint8; with a size, its centre square scaled to that."""
    image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    if size is not None and image.size != (size, size):
        from PIL import Image, ImageOps

        image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _divide(images: np.ndarray, labels: np.ndarray, share: float) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Two parts, the second with `share` of the rows; always the same ones."""
    order = np.random.default_rng(0).permutation(len(images))
    cut = len(images) - round(len(images) * share)
    first, second = np.sort(order[:cut]), np.sort(order[cut:])
    return (images[first], labels[first]), (images[second], labels[second])


def _digest(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, np.int64).data)
    return digest.hexdigest()[:16]


def _keep(folder: Path, parts: Parts, classes: tuple[str, ...]) -> None:
    with atomic_write(folder) as partial:
        partial.mkdir()
        for part, (images, labels) in parts.items():
            np.save(partial / f"{part}-images.npy", images)
            np.save(partial / f"{part}-labels.npy", labels.astype(np.int64))
        prints = {part: _digest(*arrays) for part, arrays in parts.items()}
        (partial / "about.json").write_text(json.dumps({"classes": classes, "fingerprints": prints}))


def _open(name: str, folder: Path) -> Dataset:
    try:
        about = json.loads((folder / "about.json").read_text())
        splits = {}
        for part, fingerprint in about["fingerprints"].items():
            splits[part] = split = Split(name, part, fingerprint)
            files = (folder / f"{part}-{what}.npy" for what in ("images", "labels"))
            split.__dict__["arrays"] = tuple(np.load(file, mmap_mode="r") for file in files)
        return Dataset(name, tuple(about["classes"]), **splits)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DamagedFile(f"{folder} ({error})", "decoded data as Feint keeps it", "delete that directory") from error
