"""Data sets and their parts, held by name and fingerprint; decoded arrays are kept under `FEINT_CACHE`."""

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from feint.data.readers import Parts, divide
from feint.data.sources import HELD_OUT, HELD_OUT_DEFAULT, SOURCES, Source, find
from feint.errors import BadInput, DamagedFile
from feint.recipes.recipe import fingerprint
from feint.recipes.store import atomic_write


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

    def scaled(self, shape: tuple[int, int, int]) -> "Split":
        """The same images in this (C, H, W), each pixel the mean of the area that it covers. Raises `BadInput`."""
        if self.shape == tuple(shape):
            return self
        if self.shape[0] != shape[0]:
            raise BadInput(f"{self.name} of shape {self.shape}", f"images like {tuple(shape)}", "choose other images")
        small = F.interpolate(self.inputs(), size=shape[1:], mode="area").mul(255).round().to(torch.uint8)
        name = f"{self.name}_{shape[2]}x{shape[1]}"
        return Split.of(small.numpy(), self.arrays[1], name=name, part=self.part)

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
    reader, origin = find(name, source, size)
    key = fingerprint([1, origin, size], 12)
    folder = Path(os.environ.get("FEINT_CACHE", Path.home() / ".cache" / "feint")) / f"{name}-{key}"
    if not (folder / "about.json").exists():
        parts, classes = reader()
        if source.pool is None:
            parts["train"], parts["held_out"] = divide(*parts["train"], HELD_OUT.get(name, HELD_OUT_DEFAULT))
        _keep(folder, parts, classes)
    return _open(title, folder)


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
