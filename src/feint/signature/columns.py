"""Rows of tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from feint.errors import BadInput
from feint.signature.column import DTYPE, Column
from feint.signature.domain import Array, Domain, Tensor, converted, hashed

DIGITS = 6  # significant decimal digits that distinguish two numbers


@dataclass(frozen=True)
class Columns(Domain):
    """Rows (D,) float64 of a table: numbers as they are, categories as codes, NaN for a missing value.

    Two numbers count as equal where they agree in six significant digits.

    Args:
        columns: The D columns.

    Raises:
        BadInput: There is no column, or two have one name.
    """

    columns: tuple[Column, ...]
    shape: tuple[int, ...] = field(init=False, repr=False, compare=False)
    dtype: ClassVar[np.dtype] = DTYPE
    stored: ClassVar[np.dtype] = DTYPE
    differentiable: ClassVar[bool] = True
    noun: ClassVar[str] = "rows"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "shape", (len(self.columns),))
        if not self.columns or len({column.name for column in self.columns}) < len(self.columns):
            names = ", ".join(column.name for column in self.columns)
            raise BadInput(f"columns {names or 'without any name'}", "one or more, of different names", "rename them")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @classmethod
    def like(cls, x: Array) -> Self:
        missing = [bool(np.isnan(column).any()) for column in x.T]
        return cls(tuple(Column(f"x{i}", optional=optional) for i, optional in enumerate(missing)))

    @classmethod
    def describe(
        cls, table: Mapping[str, Sequence[Any]], categories: Mapping[str, Sequence[str]] | None = None
    ) -> Self:
        """Return the domain of a table, with what its owner could publish of it: ranges, means and shares.

        Args:
            table: Values of each column: numbers, booleans or strings; None and NaN are missing.
            categories: Categories of columns, where they are known; by default those that occur, sorted.

        Returns:
            The domain. A column of strings or booleans has categories, every other one numbers.
        """
        known = categories or {}
        return cls(tuple(Column.describe(name, values, known.get(name)) for name, values in table.items()))

    def from_table(self, table: Mapping[str, Sequence[Any] | Array]) -> Array:
        """Return a table as inputs, matched by the names of its columns.

        Args:
            table: Values of each column, in any order. Further columns are an error.

        Returns:
            Inputs (N, D) float64.

        Raises:
            BadInput: A column is missing or unknown, or a value is no number, or an unknown category.
        """
        if table.keys() != {*self.names}:
            absent = [name for name in self.names if name not in table]
            extra = [name for name in table if name not in self.names]
            got = [f"no column {', '.join(map(repr, absent))}"] if absent else []
            got += [f"the unknown column {', '.join(map(repr, extra))}"] if extra else []
            raise BadInput(" and ".join(got), f"the columns {', '.join(self.names)}", "rename or add them")
        return np.array([column.encode(table[column.name]) for column in self.columns]).T.copy()  # stack: 8 µs more

    def to_table(self, x: Array) -> dict[str, list[Any]]:
        """Return inputs (N, D) as a table of numbers, strings and None, which `from_table` reads back."""
        return {column.name: column.decode(x[:, i]) for i, column in enumerate(self.columns)}

    def published(self) -> "Columns":
        return Columns(tuple(Column(c.name, c.categories, c.optional, c.integer) for c in self.columns))

    def tensors(self) -> Sequence[Tensor]:
        return self.matrix if not any(column.categories for column in self.columns) else self._each

    def further_tensors(self) -> Sequence[Tensor]:
        return (*self.matrix, *self._each)

    @property
    def matrix(self) -> Sequence[Tensor]:
        """One tensor with a number for each column, of a name that no column has."""
        name = "x"
        while name in self.names:
            name += "_"
        return (Tensor(name, "FP64", self.shape),)

    @property
    def _each(self) -> Sequence[Tensor]:
        """A tensor for each column."""
        return tuple(Tensor(column.name, "BYTES" if column.categories else "FP64", (1,)) for column in self.columns)

    def from_tensors(self, tensors: Mapping[str, Array]) -> Array:
        whole = len(tensors) == 1 and next(iter(tensors)) not in self.names
        if whole:
            (values,) = tensors.values()
            return converted(values, self.dtype).reshape(len(values), *self.shape)
        return self.from_table({name: values.reshape(len(values)) for name, values in tensors.items()})

    def to_tensors(self, x: Array, tensors: Sequence[Tensor]) -> dict[str, Array]:
        if len(tensors) == 1 and tensors[0].name not in self.names:
            return super().to_tensors(x, tensors)
        if {tensor.name for tensor in tensors} != {*self.names}:
            raise self.misfit(tensors)
        table, codes = self.to_table(x), dict(zip(self.names, x.T, strict=True))
        arrays = {
            name: np.array([*table[name], None], object)[:-1] if datatype == "BYTES" else codes[name]
            for name, datatype, _ in tensors
        }
        return {tensor.name: arrays[tensor.name].reshape(len(x), *(1 for _ in tensor.shape)) for tensor in tensors}

    @cached_property
    def _limits(self) -> tuple[Array, Array, Array, Array]:
        """Whether each value may be missing and whether it is a code, the least and the greatest one."""
        most = np.finfo(self.dtype).max
        counts = [len(column.categories or ()) for column in self.columns]
        coded = np.array([column.categories is not None for column in self.columns])
        optional = np.array([column.optional for column in self.columns])
        return optional, coded, np.where(coded, 0.0, -most), np.where(coded, np.array(counts) - 1.0, most)

    def check_values(self, x: Array) -> None:
        optional, coded, low, high = self._limits
        present = (x >= low) & (x <= high) & (np.where(coded, np.rint(x), x) == x)
        if not (present.all() or (present | (np.isnan(x) & optional)).all()):
            self._raise_for_values(x)

    def _raise_for_values(self, x: Array) -> None:
        """Raise `BadInput` for the first column with a value that it has not."""
        missing = np.isnan(x)
        for i, column in enumerate(self.columns):
            values = x[:, i][~missing[:, i]]
            if len(values) < len(x) and not column.optional:
                raise BadInput(f"a missing value of {column.name!r}", "a value", "fill it in")
            if np.isinf(values).any():
                raise BadInput(f"an infinite value of {column.name!r}", "a number", "mend it")
            if column.categories is not None and not np.isin(values, np.arange(len(column.categories))).all():
                most = len(column.categories) - 1
                raise BadInput(f"another code of {column.name!r}", f"a whole number from 0 to {most}", "encode it")

    def remedy(self, x: Array) -> str:
        return f"send the columns {', '.join(self.names[:8])}{', …' if len(self.names) > 8 else ''} as float64"

    def clip(self, x: Array) -> Array:
        clipped = np.array(x, np.float64)
        for i, column in enumerate(self.columns):
            values = clipped[:, i]
            middle = 0.0 if column.mean is None else column.mean
            if not column.optional:
                values = np.where(np.isnan(values), middle, values)
            if column.categories is not None:
                values = np.rint(values).clip(0, len(column.categories) - 1)
            else:
                values = np.nan_to_num(values, nan=np.nan, posinf=1e300, neginf=-1e300)
                values = values if column.low is None else np.maximum(values, column.low)
                values = values if column.high is None else np.minimum(values, column.high)
                values = np.rint(values) if column.integer else values
            clipped[:, i] = values
        return clipped

    def usual_range(self) -> Array:
        """Return the ranges of the columns, (2, D) float64; three deviations of `sample` where none is published."""
        return self.clip(np.array([column.range or (-3.0, 3.0) for column in self.columns]).T)

    def sample(self, n: int, seed: int, *, published: bool = True) -> Array:
        random = np.random.default_rng(seed)
        x = np.stack([column.sample(n, random, published=published) for column in self.columns], 1)
        return self.clip(x)

    def blend(self, a: Array, b: Array, share: float, seed: int) -> Array:
        """Return rows between those of `a` and `b`: numbers are averaged, categories and gaps taken from either."""
        taken = np.random.default_rng(seed).random(a.shape) < share
        _, coded, _, _ = self._limits
        mixed = np.where(coded | np.isnan(a) | np.isnan(b), np.where(taken, b, a), (1 - share) * a + share * b)
        return self.clip(mixed)

    @classmethod
    def near(cls, x: Array) -> Array:
        """Return codes of rows, equal where all numbers agree in two significant digits and all categories."""
        return hashed(row.tobytes() for row in _rounded(x, 2))

    @staticmethod
    def canonical(x: Array) -> Array:
        return _rounded(x, DIGITS)

    @staticmethod
    def quantize(x: Array) -> Array:
        return _one_of_each(significant(x, DIGITS))


def significant(x: Array, digits: float) -> Array:
    """Return float64 numbers rounded to so many significant digits; what has no finite scale stays as it is."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(x))))
        return np.where(np.isfinite(scale) & (scale > 0), np.rint(x * scale) / scale, x)


def _rounded(x: Array, digits: int) -> Array:
    """Return `x` as float32 in so many significant digits."""
    return _one_of_each(significant(x, digits)).astype(np.float32)


def _one_of_each(x: Array) -> Array:
    """Return `x` with one NaN and one zero without a sign."""
    return np.where(np.isnan(x), np.nan, x) + 0.0
