"""Images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from feint.errors import BadInput
from feint.signature.domain import Array, Domain, Tensor, converted


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

    @staticmethod
    def canonical(x: Array) -> Array:
        return np.rint(x * np.float32(255)).astype(np.uint8)
