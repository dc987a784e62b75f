"""Data sets and their splits, identified by name and fingerprint; decoded arrays are cached under `FEINT_CACHE`."""

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
    """Labelled images, as a handle: `Split("digits", "pool", fingerprint=…)` reads its arrays at their first use.

    A recipe that has a split stores the handle alone.

    Attributes:
        name: Name of the data set, or a title for arrays in memory.
        part: "train", "test", "pool" or "held_out"; a share of one is "PART:I/OF".
        fingerprint: 16 hexadecimal digits of the SHA-256 of images and labels.
        images: Pixels (N, C, H, W) uint8, 0 to 255.
        labels: Class indices (N,) int64, 0 to K − 1.
    """

    name: str
    part: str
    fingerprint: str

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, *, name: str = "memory", part: str = "all") -> "Split":
        """Return a split of arrays in memory.

        Args:
            images: Pixels (N, C, H, W) uint8, 0 to 255.
            labels: Class indices (N,), integers from 0.
            name: Title of the data.
            part: Title of the part.

        Returns:
            The split, with the fingerprint of the arrays.

        Raises:
            BadInput: Shape, type or number of the arrays is another.
        """
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
        """Images (N, C, H, W) uint8 and labels (N,) int64.

        A data set that cannot be found raises `MissingData` or `UnknownName`.

        Raises:
            DamagedFile: The data set of this name is another one by its fingerprint.
        """
        part, _, share = self.part.partition(":")
        split: Split = getattr(load(self.name), part)
        if share:
            split = split.share(*map(int, share.split("/")))
        if split.fingerprint != self.fingerprint:
            raise DamagedFile(f"{split!r}", f"{self!r}", "find the data that the recipe was made with")
        return split.arrays

    @property
    def images(self) -> np.ndarray:
        """Pixels (N, C, H, W) uint8, 0 to 255."""
        return self.arrays[0]

    @property
    def labels(self) -> Tensor:
        """Class indices (N,) int64."""
        return torch.from_numpy(np.array(self.arrays[1]))

    def share(self, i: int, of: int) -> "Split":
        """Return every `of`-th row from row `i` on: `share(0, 2)` and `share(1, 2)` are two halves.

        Raises:
            BadInput: Not 0 ≤ i < of, or this split is itself a share.
        """
        if not 0 <= i < of or ":" in self.part:
            raise BadInput(f"share {i} of {of} of {self.part}", "0 ≤ i < of, of a whole part", "change it")
        return Split.of(self.images[i::of], self.arrays[1][i::of], name=self.name, part=f"{self.part}:{i}/{of}")

    def scaled(self, shape: tuple[int, int, int]) -> "Split":
        """Return the same images in another height and width; each pixel is the mean of the area that it covers.

        Args:
            shape: (C, H, W) of the result.

        Raises:
            BadInput: The number of channels differs.
        """
        if self.shape == tuple(shape):
            return self
        if self.shape[0] != shape[0]:
            raise BadInput(f"{self.name} of shape {self.shape}", f"images like {tuple(shape)}", "choose other images")
        small = F.interpolate(self.inputs(), size=shape[1:], mode="area").mul(255).round().to(torch.uint8)
        name = f"{self.name}_{shape[2]}x{shape[1]}"
        return Split.of(small.numpy(), self.arrays[1], name=name, part=self.part)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        return self.images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def inputs(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return the inputs (n, C, H, W), float32 in [0, 1], of these `rows`; all by default."""
        chosen = rows.numpy() if isinstance(rows, Tensor) else rows
        return decode(torch.from_numpy(np.array(self.images[chosen])))

    def __getstate__(self) -> dict[str, object]:
        """A pickle has the handle alone where the arrays are files, which the receiving process maps itself."""
        mapped = isinstance(self.__dict__.get("arrays", (None,))[0], np.memmap)
        return {name: value for name, value in self.__dict__.items() if not (mapped and name == "arrays")}


def decode(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [0, 1]; floating-point images are returned unchanged."""
    return images if images.is_floating_point() else images.float().div_(255)


@dataclass(frozen=True)
class Dataset:
    """Named data set for classification.

    All images have one shape (C, H, W). Labels are indices into `classes`.

    Attributes:
        name: Name of the data set; NAME@SIZE where its images are scaled to SIZE×SIZE pixels.
        classes: Names of the K classes.
        train: Split that victims are trained on.
        test: Split that nothing is trained on.
        held_out: Split that was cut off the training images as the attacker's pool; None where another set is the pool.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    held_out: Split | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of an image."""
        return self.train.shape

    @cached_property
    def pool(self) -> Split:
        """The attacker's images, unseen in the victim's training: held out, or the training split of another set."""
        return self.held_out or load(SOURCES[self.name.partition("@")[0]].pool or "").train


@functools.cache
def load(name: str, *, size: int | None = None) -> Dataset:
    """Load a named data set. The first load decodes and caches it.

    An unknown name raises `UnknownName`. Data that are not there raise `MissingData`, whose remedy names what to
    install, download or set. Data that cannot be read raise `BadInput` or `DamagedFile`.

    Args:
        name: One of `known()`; NAME@SIZE is the same as `size=SIZE`.
        size: Height and width in pixels; by default those of the images.

    Returns:
        The data set, with its arrays mapped from files.
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
        _save(folder, parts, classes)
    return _open(title, folder)


def _digest(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, np.int64).data)
    return digest.hexdigest()[:16]


def _save(folder: Path, parts: Parts, classes: tuple[str, ...]) -> None:
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
        raise DamagedFile(f"{folder} ({error})", "decoded data that Feint cached", "delete that directory") from error
