"""One column of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from feint.errors import BadInput, UnknownName
from feint.signature.domain import Array, converted

DTYPE = np.dtype(np.float64)  # of numbers and codes


@dataclass(frozen=True)
class Column:
    """Column of a table, as its owner publishes it.

    Args:
        name: Name.
        categories: Names of the categories; the code of a category is its position. None for numbers.
        optional: Whether a value may be missing, as NaN.
        integer: Whether numbers are whole.
        low: Least number that is usual.
        high: Greatest number that is usual.
        mean: Mean of the numbers.
        deviation: Standard deviation of the numbers, above 0.
        shares: Share of each category.
        missing: Share of missing values.

    Raises:
        BadInput: Categories repeat, or shares are not as many as categories.
    """

    name: str
    categories: tuple[str, ...] | None = None
    optional: bool = False
    integer: bool = False
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    shares: tuple[float, ...] | None = None
    missing: float | None = None

    def __post_init__(self) -> None:
        if self.categories is not None and (not self.categories or len({*self.categories}) < len(self.categories)):
            raise BadInput(f"column {self.name!r} with categories {self.categories}", "different ones", "mend them")
        if self.shares is not None and len(self.shares) != len(self.categories or ()):
            raise BadInput(f"{len(self.shares)} shares for column {self.name!r}", "one for each category", "mend them")

    @cached_property
    def codes(self) -> Mapping[str, float]:
        """Codes of the categories; "" is a missing value unless it is a category: raw bytes have no null."""
        return {"": np.nan} | {category: float(i) for i, category in enumerate(self.categories or ())}

    @property
    def range(self) -> tuple[float, float] | None:
        """Least and greatest usual number, or code of a category.

        Ends that are not published are three deviations from the mean; None where that is not published either.
        """
        if self.categories is not None:
            return 0.0, len(self.categories) - 1.0
        if self.low is not None and self.high is not None:
            return self.low, self.high
        if self.mean is None or self.deviation is None:
            return None
        low, high = self.mean - 3 * self.deviation, self.mean + 3 * self.deviation
        return low if self.low is None else self.low, high if self.high is None else self.high

    def require_range(self) -> tuple[float, float]:
        """Return `range`.

        Raises:
            BadInput: Nothing of it is published.
        """
        if self.range is None:
            raise BadInput(
                f"the column {self.name!r} without a range", "its low and high, or mean and deviation",
                "describe the table: Columns.describe(…)",
            )  # fmt: skip
        return self.range

    @classmethod
    def describe(cls, name: str, values: Sequence[Any], categories: Sequence[str] | None = None) -> Self:
        """Return the column of values, with what its owner could publish of it.

        Args:
            name: Name.
            values: Numbers, booleans or strings; None and NaN are missing.
            categories: Categories, where they are known; by default those that occur, sorted.

        Returns:
            The column. One of strings or booleans has categories, every other one numbers.
        """
        present = [value for value in values if not _is_missing(value)]
        missing = 1 - len(present) / max(len(values), 1)
        optional, share = missing > 0, missing or None
        if categories is None and any(isinstance(value, (str, bool, np.bool_)) for value in present):
            categories = sorted({str(value) for value in present})
        if categories is not None:
            counts = dict.fromkeys(categories, 0)
            for value in present:
                counts[str(value)] = counts.get(str(value), 0) + 1
            shares = tuple(counts[category] / max(len(present), 1) for category in categories)
            return cls(name, tuple(categories), optional, shares=shares, missing=share)
        numbers = np.array(present, np.float64)
        if not len(numbers):
            return cls(name, optional=True, missing=share)
        return cls(
            name,
            optional=optional,
            integer=bool((numbers == np.rint(numbers)).all()),
            low=float(numbers.min()),
            high=float(numbers.max()),
            mean=float(numbers.mean()),
            deviation=float(numbers.std()) or 1.0,
            missing=share,
        )

    def encode(self, values: Sequence[Any] | Array) -> Array:
        """Return values (N,) of this column as float64 numbers or codes.

        Raises:
            BadInput: A value is no number, or an unknown category.
        """
        if isinstance(values, Array) and values.dtype.kind in "fiub":
            if self.categories is None:
                return converted(values, DTYPE)
            values = values.tolist()
        if self.categories is None:
            try:
                return np.array([np.nan if _is_missing(value) else float(value) for value in values], np.float64)
            except (TypeError, ValueError) as error:
                raise BadInput(
                    f"{self.name!r} with a value that is no number ({error})", "numbers", "mend it"
                ) from error
        codes = self.codes
        return np.array(
            [codes[value] if isinstance(value, str) and value in codes else self._code(value) for value in values],
            np.float64,
        )

    def decode(self, x: Array) -> list[Any]:
        """Return numbers or codes (N,) of this column as numbers, strings and None, which `encode` reads back."""
        if self.categories is not None:
            return [None if np.isnan(code) else self.categories[int(code)] for code in x]
        if self.integer:
            return [None if np.isnan(v) else int(v) if float(v).is_integer() else float(v) for v in x]
        return [None if np.isnan(value) else float(value) for value in x]

    def sample(self, n: int, random: np.random.Generator, *, published: bool) -> Array:
        """Draw values (n,) of this column: from its mean, shares and range where `published`, or uniformly."""
        if self.categories is not None:
            weights = np.array(self.shares) if published and self.shares and sum(self.shares) > 0 else None
            share = None if weights is None else weights / weights.sum()
            values = random.choice(len(self.categories), n, p=share).astype(np.float64)
        elif published and self.mean is not None:
            values = random.normal(self.mean, self.deviation or 1.0, n)
        elif self.low is not None and self.high is not None:
            values = random.uniform(self.low, self.high, n)
        else:
            values = random.normal(size=n)
        if published and self.optional and self.missing:
            values[random.random(n) < self.missing] = np.nan
        return values

    def _code(self, value: Any) -> float:
        """Return the code of a value of any type; raise `UnknownName` where it is no category."""
        label = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        if _is_missing(value):
            return self.codes[""]
        if label not in self.codes:
            raise UnknownName.among(f"category of {self.name!r}:", str(value), self.categories or ())
        return self.codes[label]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and np.isnan(value))
