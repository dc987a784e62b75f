"""Data sets and their splits, identified by name and fingerprint."""

import functools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from feint.data.decoded_cache import CachedData, cached_data, digest_of
from feint.data.remarks import Remark
from feint.data.sources import SOURCES, Source
from feint.errors import BadInput, DamagedFile
from feint.query import torch_type
from feint.signature import Domain, Pixels, Text, Tokens

GREY = 3, 1  # channels of images in colour and of their greys
LUMA = 0.299, 0.587, 0.114  # of red, green and blue


@dataclass(frozen=True)
class Split:
    """Labelled inputs, as a handle: `Split("digits", "pool", fingerprint=…)` reads its arrays at their first use.

    A recipe that has a split stores the handle alone.

    Attributes:
        name: Name of the data set, or a title for arrays in memory.
        part: "train", "test", "pool" or "held_out"; a share of one is "PART:I/OF".
        fingerprint: 16 hexadecimal digits of the SHA-256 of values and labels.
        values: Inputs (N, …) as they are stored: images as uint8, from 0 to 255.
        labels: Class indices (N,) int64, 0 to K − 1.
        domain: Domain of the inputs.
    """

    name: str
    part: str
    fingerprint: str

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        labels: np.ndarray,
        *,
        domain: Domain | None = None,
        name: str = "memory",
        part: str = "all",
    ) -> "Split":
        """Return a split of arrays in memory.

        Args:
            values: Inputs (N, …) in the type in which their domain stores them.
            labels: Class indices (N,), integers from 0.
            domain: Domain of the inputs; None for images (N, C, H, W) uint8.
            name: Title of the data.
            part: Title of the part.

        Returns:
            The split, with the fingerprint of the arrays.

        Raises:
            BadInput: Shape, type or number of the arrays is another.
        """
        shape, kind = ("C, H, W", np.uint8) if domain is None else (", ".join(map(str, domain.shape)), domain.stored)
        if domain is None and values.ndim == 4:
            domain = Pixels(values.shape[1:])
        if domain is None or values.shape[1:] != domain.shape or values.dtype != kind or len(values) != len(labels):
            raise BadInput(
                f"inputs of shape {values.shape} and type {values.dtype} with {len(labels)} labels",
                f"(N, {shape}) {np.dtype(kind)} and N labels",
                "scale them to 0…255" if kind == np.uint8 else "convert them",
            )
        split = cls(name, part, digest_of(values, labels))
        # where cached_property would put them
        split.__dict__["arrays"], split.__dict__["domain"] = (values, labels.astype(np.int64)), domain
        return split

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Values (N, …) as they are stored, and labels (N,) int64. Errors as in `domain`."""
        return self._loaded.arrays

    @cached_property
    def domain(self) -> Domain:
        """Domain of the inputs.

        A data set that cannot be found raises `MissingData` or `UnknownName`, another one of this name `DamagedFile`.
        """
        return self._loaded.domain

    @property
    def _loaded(self) -> "Split":
        """The same split with its arrays.

        Raises:
            DamagedFile: The data set of this name is another one by its fingerprint.
        """
        part, _, share = self.part.partition(":")
        split = load_part(self.name, part)
        if share:
            split = split.share(*map(int, share.split("/")))
        if split.fingerprint != self.fingerprint:
            raise DamagedFile(f"{split!r}", f"{self!r}", "find the data that the recipe was made with")
        return split

    @property
    def values(self) -> np.ndarray:
        """Inputs (N, …) as they are stored."""
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
        return self.take(slice(i, None, of), part=f"{self.part}:{i}/{of}")

    def take(self, rows: np.ndarray | slice, *, part: str) -> "Split":
        """Return a split of these `rows` in memory, with `part` as its title."""
        values, labels = self.arrays
        return Split.of(values[rows], labels[rows], domain=self.domain, name=self.name, part=part)

    def scaled(self, shape: tuple[int, ...]) -> "Split":
        """Return the same images in another height and width; each pixel is the mean of the area that it covers.

        Args:
            shape: (C, H, W) of the result; of colours, one channel is the luma of ITU-R BT.601.

        Raises:
            BadInput: The number of channels differs otherwise, or the inputs are no images.
        """
        if self.shape == tuple(shape):
            return self
        if (
            not isinstance(self.domain, Pixels)
            or len(shape) != 3
            or (self.shape[0], shape[0]) not in (GREY, (shape[0], shape[0]))
        ):
            raise BadInput(f"{self.name} of shape {self.shape}", f"images like {tuple(shape)}", "choose other images")
        x = self.inputs()
        if self.shape[0] != shape[0]:
            x = (x * torch.tensor(LUMA).view(-1, 1, 1)).sum(1, keepdim=True)
        small = F.interpolate(x, size=shape[1:], mode="area").mul(255).round().to(torch.uint8)
        name = f"{self.name}_{shape[2]}x{shape[1]}"
        return Split.of(small.numpy(), self.arrays[1], name=name, part=self.part)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.domain.shape

    def __len__(self) -> int:
        return len(self.values)

    def inputs(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return the inputs (n, …) of these `rows` in the type of their domain; all by default."""
        chosen = rows.numpy() if isinstance(rows, Tensor) else rows
        return decode(torch.from_numpy(np.array(self.values[chosen])), self.domain)

    def __getstate__(self) -> dict[str, object]:
        """A pickle has the handle alone where the arrays are files, which the receiving process maps itself."""
        mapped = isinstance(self.__dict__.get("arrays", (None,))[0], np.memmap)
        return {name: value for name, value in self.__dict__.items() if not (mapped and name == "arrays")}


def decode(values: Tensor, domain: Domain) -> Tensor:
    """Return stored values (N, …) as inputs of their domain; inputs are returned unchanged."""
    if domain.levels:
        return values if values.is_floating_point() else values.float().div_(domain.levels)
    return values.to(torch_type(domain))


@dataclass(frozen=True)
class Dataset:
    """Named data set for classification.

    All inputs have one domain. Labels are indices into `classes`.

    Attributes:
        name: Name of the data set; NAME@SIZE where its images are scaled to SIZE×SIZE pixels, or its texts cut.
        classes: Names of the K classes.
        train: Split that victims are trained on.
        test: Split that nothing is trained on.
        held_out: Split that was cut off the training inputs as the attacker's pool; None where another set is the pool.
        remarks: What the reader changed or left out.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    held_out: Split | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def domain(self) -> Domain:
        """Domain of the inputs."""
        return self.train.domain

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.domain.shape

    @cached_property
    def pool(self) -> Split:
        """The attacker's inputs, unseen in the victim's training: held out, or the training inputs of another set.

        Texts and sequences of another set are padded or cut to the length of these.
        """
        if self.held_out is not None:
            return self.held_out
        length = self.domain.length if isinstance(self.domain, (Text, Tokens)) else None
        return load_part(SOURCES[self.name.partition("@")[0]].pool or "", "train", size=length)


@functools.cache
def load(name: str, *, size: int | None = None) -> Dataset:
    """Load a named data set. The first load decodes and caches it.

    An unknown name raises `UnknownName`. Data that are not there raise `MissingData`, whose remedy names what to
    install, download or set. Data that cannot be read raise `BadInput` or `DamagedFile`.

    Args:
        name: One of `known()`; NAME@SIZE is the same as `size=SIZE`.
        size: Height and width in pixels, or length of texts in bytes; by default those of the data.

    Returns:
        The data set, with its arrays mapped from files.

    Raises:
        BadInput: The set has no labels.
    """
    cached = cached_data(name, size)
    if not cached.classes:
        raise BadInput(f"{name}, which has no labels", "a labelled data set", f"use it as a pool: --pool {name}")
    return Dataset(cached.name, cached.classes, remarks=cached.remarks, **_splits(cached))


def load_part(name: str, part: str, *, size: int | None = None) -> Split:
    """Load one part of a named data set, with or without labels. Further arguments and errors as in `load`.

    Args:
        name: Name of the set.
        part: "train", "test", "held_out", or "pool": the attacker's inputs, which are all of a set without labels.
        size: As in `load`.

    Returns:
        The split.

    Raises:
        BadInput: The set has no such part.
    """
    other = SOURCES.get(name.partition("@")[0], Source()).pool
    if part == "pool" and other is not None:
        pool = load_part(other, "train")
        if not isinstance(pool.domain, (Text, Tokens)):  # whose length is that of this set
            return pool  # without decoding this one, which takes half a minute of CIFAR-100
    cached = cached_data(name, size)
    if part == "pool" and cached.classes:
        return load(name, size=size).pool
    part = "train" if part == "pool" else part
    if part not in cached.parts:
        raise BadInput(f"{name}/{part}", f"one of {', '.join(cached.parts)}", "choose another part")
    return _splits(cached)[part]


def _splits(cached: CachedData) -> dict[str, Split]:
    splits = {}
    for name, part in cached.parts.items():
        splits[name] = split = Split(cached.name, name, part.fingerprint)
        # where cached_property would put them
        split.__dict__["arrays"], split.__dict__["domain"] = part.arrays, cached.domain
    return splits
