"""Base of the input domains."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from feint.errors import BadInput

Array = np.ndarray
NEAR_BITS = 48  # of a code, which two numbers of 24 bits hold exactly in float32
NEAR_DISTANCE = 3  # bits
PART = 64  # rows that stay in the processor's cache: 3 times faster


class Tensor(NamedTuple):
    """Tensor by which a server takes inputs of a domain.

    Attributes:
        name: Name.
        datatype: Datatype of the Open Inference Protocol, like FP32.
        shape: Shape of one input, without the batch dimension; -1 is any size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


class Domain(ABC):
    """Set of the inputs that a model takes. A domain is a frozen dataclass that defines the abstract methods.

    One array `x` (N, …) of the type `dtype` holds N inputs, whatever they are. No two domains have one type, so that
    an array tells its domain: `feint.signature.domain_like`.

    Attributes:
        dtype: Type of `x`.
        stored: Type in which data sets store inputs.
        levels: Stored integers from 0 to `levels` stand for values in [0, 1]; 0 where inputs are stored as they are.
        differentiable: Whether a gradient with respect to `x` means anything.
        noun: Word for several inputs in pages and messages.
        shape: Shape of one input.
    """

    dtype: ClassVar[np.dtype[Any]]
    stored: ClassVar[np.dtype[Any]]
    levels: ClassVar[int] = 0
    differentiable: ClassVar[bool] = False
    noun: ClassVar[str]
    shape: tuple[int, ...]

    @classmethod
    @abstractmethod
    def like(cls, x: Array) -> Self:
        """Return the domain of these inputs (N, …), as far as their shape and values tell it."""

    @abstractmethod
    def check_values(self, x: Array) -> None:
        """Raise `BadInput` for values outside the domain; type and shape of `x` are right."""

    @abstractmethod
    def clip(self, x: Array) -> Array:
        """Return the nearest inputs of the domain to `x`, numbers of the same shape and of any type."""

    @abstractmethod
    def sample(self, n: int, seed: int, *, published: bool = True) -> Array:
        """Draw `n` inputs without any data.

        Args:
            n: Number of inputs.
            seed: Seed of the draw.
            published: Whether the draw follows the means, shares and ranges that the domain publishes, if any.

        Returns:
            Inputs (n, …), which `check` accepts.
        """

    @abstractmethod
    def blend(self, a: Array, b: Array, share: float, seed: int) -> Array:
        """Return inputs between those of `a` and `b`, pair by pair.

        Args:
            a: Inputs (N, …).
            b: Inputs (N, …).
            share: Share of `b` in the result, from 0, which is `a`, to 1, which is `b`.
            seed: Seed of what is taken from which, where values cannot be averaged.

        Returns:
            Inputs (N, …), which `check` accepts.
        """

    def usual_range(self) -> Array:
        """Return the least and the greatest usual value of each feature, (2, …) float64.

        By default the ends into which `clip` brings everything.
        """
        ends = np.stack([np.full(self.shape, -np.inf), np.full(self.shape, np.inf)])
        return self.clip(ends).astype(np.float64)

    @staticmethod
    def canonical(x: Array) -> Array:
        """Return `x` (N, …) with one value for all that count as equal, as numbers whose bytes are compared."""
        return x

    @staticmethod
    def quantize(x: Array) -> Array:
        """Return `x` (N, …) on the grid of the marks: for each input the one that stands for all with its mark.

        A model that reads these sees no difference that the marks do not, so that whatever is drawn by them cannot be
        cancelled by small differences. By default `x` itself, for domains whose `canonical` is.
        """
        return x

    def check(self, x: Array) -> None:
        """Check that `x` is a batch of inputs of this domain. Nothing is converted.

        Raises:
            BadInput: The type, the shape or a value is another one.
        """
        if x.dtype != self.dtype or x.shape[1:] != self.shape or not x.ndim:
            raise BadInput(
                f"inputs of shape {tuple(x.shape)} and type {x.dtype}",
                f"(N, {', '.join(map(str, self.shape))}) {self.dtype}",
                self.remedy(x),
            )
        if x.size:
            self.check_values(x)

    def remedy(self, x: Array) -> str:
        """Return what to do about inputs of another shape or type."""
        return "convert them" if x.dtype != self.dtype else "change their shape"

    def mark(self, x: Array) -> list[bytes]:
        """Return bytes for each input (N, …) that are equal for inputs that count as the same query.

        Repeats and keyed randomness depend on them. They are the same after a round trip over JSON, and in general they
        do not change with the last bit of a float.
        """
        return marks(type(self), x)

    def published(self) -> "Domain":
        """Return the domain as a server describes it to clients, without statistics of its data."""
        return self

    @classmethod
    def near(cls, x: Array) -> Array:
        """Return perceptual codes of inputs: near copies of an input have nearly its code.

        By default a hash of the mark, so that only inputs with the same mark are near.

        Args:
            x: Inputs (N, …).

        Returns:
            Codes of `NEAR_BITS` bits (N,) uint64. Two inputs are near where their codes differ in `NEAR_DISTANCE` bits
            or fewer.
        """
        return hashed(marks(cls, x))

    def tensors(self) -> Sequence[Tensor]:
        """Return the tensors by which a server takes inputs; by default one, of the same type."""
        return (Tensor("x", DATATYPES[self.dtype], self.shape),)

    def further_tensors(self) -> Sequence[Tensor]:
        """Return the tensors that a request may have instead of `tensors`, or beside them."""
        return ()

    def from_tensors(self, tensors: Mapping[str, Array]) -> Array:
        """Return the inputs in the tensors of a request.

        Args:
            tensors: Arrays (N, …) by name, some of `tensors` and `further_tensors`: numbers of any type, or strings as
                an object array, in which None is a null.

        Returns:
            Inputs (N, …) of the right type, whose values are not checked. Tensors of other inputs raise `BadInput`.
        """
        (values,) = tensors.values()
        return converted(values, self.dtype).reshape(len(values), *self.shape)

    def to_tensors(self, x: Array, tensors: Sequence[Tensor]) -> dict[str, Array]:
        """Return inputs as the tensors that a server takes.

        Args:
            x: Inputs (N, …).
            tensors: The server's tensors, whose names, types and shapes may be its own.

        Returns:
            Arrays (N, …) by name, of any type that converts to the server's. A server that takes inputs of another
            kind raises `BadInput`.
        """
        if len(tensors) != 1 or math.prod(tensors[0].shape) not in (math.prod(self.shape), *_dynamic(tensors[0])):
            raise self.misfit(tensors)
        name, _, shape = tensors[0]
        return {name: x.reshape(len(x), *(self.shape if -1 in shape else shape))}

    def misfit(self, tensors: Sequence[Tensor]) -> BadInput:
        """Return the error for a server whose tensors take inputs of another kind."""
        listed = ", ".join(f"{name} {datatype} {['N', *shape]}" for name, datatype, shape in tensors)
        return BadInput(
            f"a model that takes {listed or 'nothing'}", f"{self.noun} {self!r:.200}", "name its own domain"
        )

    def decode(self, values: Array) -> Array:
        """Return stored `values` (N, …) as inputs."""
        return np.divide(values, self.levels, dtype=self.dtype) if self.levels else values.astype(self.dtype)

    def encode(self, x: Array) -> Array:
        """Return inputs (N, …) as they are stored, in memory of their own."""
        return np.rint(x * self.levels).astype(self.stored) if self.levels else x.astype(self.stored)


DATATYPES = {
    np.dtype(np.float32): "FP32",
    np.dtype(np.float64): "FP64",
    np.dtype(np.int64): "INT64",
    np.dtype(np.uint8): "UINT8",
}


def converted(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return numbers in another type, copied where they have another one, or are part of a request's bytes (read-only).

    Raises:
        BadInput: They are strings or fractions where integers are due, or an integer changes.
    """
    kinds = "iu" if dtype.kind in "iu" else "fiub"
    if values.dtype.kind not in kinds:
        got = "strings" if values.dtype == object else f"values of type {values.dtype}"
        raise BadInput(got, "integers" if dtype.kind in "iu" else "numbers", "see the model's metadata")
    result = values.astype(dtype, order="C", copy=not values.flags.writeable)
    if values.dtype.kind in "iu" and (result.astype(values.dtype) != values).any():
        raise BadInput(f"an integer beyond {dtype}", "a smaller one", "see the model's metadata")
    return result


def _dynamic(tensor: Tensor) -> tuple[int, ...]:
    """Return the product of a shape with sizes that are left open."""
    return (math.prod(tensor.shape),) if -1 in tensor.shape else ()


def hashed(codes: Iterable[bytes]) -> Array:
    """Return a hash of `NEAR_BITS` bits (N,) uint64 of each of the codes."""
    digests = b"".join(hashlib.blake2b(code, digest_size=8).digest() for code in codes)
    return np.frombuffer(digests, np.uint64) >> np.uint64(64 - NEAR_BITS)


def marks(kind: type[Domain], x: Array) -> list[bytes]:
    """Return the marks (N,) of inputs of this kind of domain; see `Domain.mark`."""
    return [
        row.tobytes()
        for start in range(0, len(x), PART)
        for row in np.ascontiguousarray(kind.canonical(x[start : start + PART]))
    ]
