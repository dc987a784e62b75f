"""Images."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from feint.errors import BadInput
from feint.signature.domain import NEAR_BITS, Array, Domain, Tensor, converted

SIZE, FREQUENCIES = 32, 8  # as in perceptual hashes of 64 bits
SLACK = 1e-3  # of coefficients: half of those of a symmetric image are 0 but for last bits
PLACES = np.uint64(1) << np.arange(NEAR_BITS, dtype=np.uint64)
ORDER = np.argsort([i + j for i in range(FREQUENCIES) for j in range(FREQUENCIES)], kind="stable")[1 : NEAR_BITS + 1]


@dataclass(frozen=True)
class Pixels(Domain):
    """Images (C, H, W) float32 in [0, 1], stored as uint8. Equality is judged in 256 levels.

    Inputs of any other shape with values in [0, 1] are allowed, too: `Pixels((30,))` is a row of 30 scaled numbers.

    Args:
        shape: Shape of an image.

    Raises:
        BadInput: A side is below 1.
    """

    shape: tuple[int, ...]
    dtype: ClassVar[np.dtype] = np.dtype(np.float32)
    stored: ClassVar[np.dtype] = np.dtype(np.uint8)
    levels: ClassVar[int] = 255
    differentiable: ClassVar[bool] = True
    noun: ClassVar[str] = "images"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if not self.shape or min(self.shape) < 1:
            raise BadInput(f"images of shape {self.shape}", "sides of at least 1", "check the data set")

    @classmethod
    def like(cls, x: Array) -> Self:
        return cls(x.shape[1:])

    def check_values(self, x: Array) -> None:
        low, high = x.min(), x.max()
        if not (low >= 0 and high <= 1):  # written so that NaN is refused as well
            raise BadInput(
                f"inputs from {low:.3g} to {high:.3g}",
                "values in [0, 1]",
                "send plain pixels: normalisation is a part of the model",
            )

    def remedy(self, x: Array) -> str:
        return "resize them" if x.dtype == self.dtype else "scale the values to float32 in [0, 1]"

    def clip(self, x: Array) -> Array:
        return np.nan_to_num(x, nan=0.0).clip(0, 1).astype(self.dtype)

    def sample(self, n: int, seed: int, *, published: bool = True) -> Array:
        levels = np.random.default_rng(seed).integers(0, self.levels, (n, *self.shape), np.uint8, endpoint=True)
        return self.decode(levels)

    def blend(self, a: Array, b: Array, share: float, seed: int) -> Array:
        return self.clip((1 - share) * a + share * b)

    def from_tensors(self, tensors: Mapping[str, Array]) -> Array:
        (values,) = tensors.values()
        if values.dtype != self.stored and values.dtype.kind != "f":
            got = "strings" if values.dtype == object else f"images of type {values.dtype}"
            raise BadInput(got, "floats in [0, 1] or UINT8", "convert them")
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and no image
            x = self.decode(values) if values.dtype == self.stored else converted(values, self.dtype)
        return x.reshape(len(values), *self.shape)

    def to_tensors(self, x: Array, tensors: Sequence[Tensor]) -> dict[str, Array]:
        named = super().to_tensors(x, tensors)
        stored = tensors[0].datatype == "UINT8"
        return {name: self.encode(values) for name, values in named.items()} if stored else named

    @classmethod
    def near(cls, x: Array) -> Array:
        """Return codes of images: the signs of low frequencies against their median.

        An image is made grey and scaled to 32×32; the code has a bit for each of the `NEAR_BITS` lowest frequencies of
        its cosine transform but the mean, set where it is above their median. A flipped or shifted image has another
        code; one that was recompressed, rescaled or darkened, or is the next frame of a still scene, has nearly the
        same. Inputs of other shapes than (C, H, W) are near where their marks are equal.
        """
        if x.ndim != 4 or not len(x):
            return super().near(x)
        values = low_frequencies(x).take(ORDER, 1)
        middle = np.sort(values, axis=1)[:, NEAR_BITS // 2, None]
        return (values > middle + SLACK) @ PLACES

    @staticmethod
    def canonical(x: Array) -> Array:
        return np.rint(x * np.float32(255)).astype(np.uint8)

    @staticmethod
    def quantize(x: Array) -> Array:
        return np.divide(Pixels.canonical(x), 255, dtype=np.float32)


def low_frequencies(x: Array) -> Array:
    """Return the 8×8 lowest frequencies (N, 64) of images (N, C, H, W), made grey and scaled to 32×32.

    They are coefficients of the cosine transform, without its factors. The first one is the sum of the pixels. Columns
    and rows are taken one after the other: one matrix for both, of 64 numbers a pixel, takes twice as long for 32×32,
    8 times as long for 224×224, and the processor's cache.
    """
    _, channels, height, width = x.shape
    return (_frequencies(height) @ (x.sum(1) @ _frequencies(width, channels).T)).reshape(len(x), -1)


@functools.cache
def _frequencies(side: int, divisor: int = 1) -> Array:
    """Return the matrix (8, side) that scales a side to 32 pixels and takes its lowest frequencies, by a divisor."""
    place = (np.arange(SIZE) + 0.5) * side / SIZE
    reach = max(side / SIZE, 1.0)
    weights = np.clip(1 - np.abs(place[:, None] - (np.arange(side) + 0.5)) / reach, 0, None)
    weights /= weights.sum(1, keepdims=True)
    cosines = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * (2 * np.arange(SIZE) + 1) / (2 * SIZE))
    return (cosines @ weights / divisor).astype(np.float32)
