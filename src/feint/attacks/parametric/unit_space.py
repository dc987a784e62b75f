"""Inputs as points of the unit cube, one axis for each question that a decision tree can ask of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from feint.signature import Column, Columns, Domain

Box = tuple[Tensor, Tensor]  # corners (d,)
MISSING = 0.25  # share of missing values among those drawn in a box that allows both


@dataclass(frozen=True)
class Axis:
    """Axis of the unit cube.

    Attributes:
        column: Column of a table, or feature of another input, that the axis belongs to.
        code: Code of the category for which a point is 1 on this axis; None for another kind of axis.
        missing: Whether a point is 1 on this axis where the value is missing.
        step: Distance of neighbouring values of a number; 0 for real ones.
    """

    column: int
    code: int | None = None
    missing: bool = False
    step: float = 0.0


class UnitSpace:
    """Unit cube of a domain: an axis for each number, each category, and each column that can lack a value.

    A number is scaled from its usual range to [0, 1], and is 0 where it is missing. On the axes of a column's
    categories, with the one for a missing value, a point is 1 once and 0 otherwise.

    Args:
        domain: Domain of the inputs.

    Attributes:
        axes: The d axes. Those of a column are neighbours, the one for missing values last.
        column: Column (d,) of each axis.
        is_number: Whether an axis (d,) is that of a number.
        is_missing: Whether an axis (d,) is that of missing values.
        step: Distance (d,) of neighbouring values on an axis; 0 for real numbers.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self._low, high = torch.from_numpy(domain.usual_range()).flatten(1)
        self._width = (high - self._low).clamp_min(torch.finfo(torch.float64).tiny)
        columns = domain.columns if isinstance(domain, Columns) else [Column("")] * prod(domain.shape)
        widths = self._width.tolist()
        self.axes = [
            axis
            for i, (column, width) in enumerate(zip(columns, widths, strict=True))
            for axis in _axes(i, column, width)
        ]
        self.column = torch.tensor([axis.column for axis in self.axes])
        self.is_missing = torch.tensor([axis.missing for axis in self.axes])
        self.is_number = ~self.is_missing & torch.tensor([axis.code is None for axis in self.axes])
        self.step = torch.tensor([axis.step for axis in self.axes], dtype=torch.float64)
        self._code = torch.tensor([axis.code or 0 for axis in self.axes], dtype=torch.float64)
        self._has_number = self._by_column(self.is_number.double()[None])[0]
        self._missing_axis = {axis.column: i for i, axis in enumerate(self.axes) if axis.missing}

    def __len__(self) -> int:
        return len(self.axes)

    def points(self, x: Tensor) -> Tensor:
        """Return inputs (N, …) as points (N, d) float64."""
        values = x.flatten(1).double()[:, self.column]
        scaled = ((values - self._low[self.column]) / self._width[self.column]).nan_to_num()
        equal = torch.where(self.is_missing, values.isnan(), values == self._code)
        return torch.where(self.is_number, scaled, equal.double())

    def inputs(self, points: Tensor) -> Tensor:
        """Return points (N, d) as inputs (N, …) of the domain: the nearest ones that are valid."""
        values = points.double() * torch.where(self.is_number, self._width[self.column], self._code)
        x = self._by_column(values) + self._has_number * self._low
        x[self.lacking(points)] = torch.nan
        return torch.from_numpy(self.domain.clip(x.view(-1, *self.domain.shape).numpy()))

    def threshold(self, axis: int, value: float) -> float:
        """Return a value on the axis of a number as a number."""
        column = int(self.column[axis])
        return float(self._low[column] + value * self._width[column])

    def lacking(self, points: Tensor) -> Tensor:
        """Return which columns of points (N, d) lack a value, (N, columns)."""
        return self._by_column(points.double() * self.is_missing) >= 0.5

    def missing_axis(self, axis: int) -> int | None:
        """Return the axis for missing values of the column of an axis, None where they are not allowed."""
        return self._missing_axis.get(self.axes[axis].column)

    def is_open(self, axis: int, low: Tensor, high: Tensor) -> bool:
        """Return whether a box from `low` (d,) to `high` (d,) holds more than one point along an axis."""
        axes = (self.column == self.column[axis]).nonzero()[:, 0]
        return bool(self._allowed(axes, low, high)[axes == axis]) and bool(high[axis] > low[axis])

    def on_grid(self, axis: int | Tensor, values: Tensor) -> Tensor:
        """Return the values nearest to `values` (n,) that a number on this axis, or on these axes (n,), can have."""
        step = self.step[axis]
        return torch.where(step > 0, (values / step).round() * step, values)

    def beside(self, axis: int) -> Tensor:
        """Return which axes (d,) are others of the same column."""
        mask = self.column == self.column[axis]
        mask[axis] = False
        return mask

    def move(self, points: Tensor, axis: Tensor, value: Tensor) -> Tensor:
        """Return points (n, d) with a `value` (n,) on one axis (n,) each, and 0 on the other axes of its column."""
        other = self.column != self.column[axis][:, None]
        return (points * other).scatter(1, axis[:, None], value[:, None].to(points.dtype))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw random points (count, d) of the cube; see `draw_within`."""
        return self.draw_within(torch.zeros(len(self)), torch.ones(len(self)), count, generator)

    def draw_within(self, low: Tensor, high: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw random points of a box.

        Numbers and categories are uniform; where a number may be missing, a quarter of the values are.

        Args:
            low: Lower corner (d,) of the box.
            high: Upper corner (d,).
            count: Number of points.
            generator: Generator of the points.

        Returns:
            Points (count, d), each of a valid input.
        """
        points = low + torch.rand(count, len(self), generator=generator).double() * (high - low)
        for axes in self._groups():
            weight = self._allowed(axes, low, high).double()
            if self.is_number[axes[0]]:
                weight *= torch.tensor([1 - MISSING, MISSING])
            pick = torch.multinomial(weight.expand(count, -1), 1, generator=generator)
            chosen = torch.zeros(count, len(axes), dtype=points.dtype).scatter_(1, pick, 1.0)
            points[:, axes] = chosen * torch.where(self.is_number[axes], points[:, axes], 1.0)
        return self.nearest(points)

    def nearest(self, points: Tensor) -> Tensor:
        """Return the points (N, d) of the valid inputs that are nearest to these."""
        return self.points(self.inputs(points))

    def both_numbers(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the axes (N, d) on which two points are numbers that are not missing."""
        return self.is_number & ~(self.lacking(one) | self.lacking(other))[:, self.column]

    def mix(self, points: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Mix points (N, d) with random ones: numbers by this share, other values so often."""
        noise = self.draw(len(points), generator)
        mixed = torch.lerp(points, noise, share)
        numbers = self.both_numbers(points, noise)
        if not numbers.all():
            drawn = torch.rand(len(points), len(self._low), generator=generator)[:, self.column] < share
            mixed = torch.where(numbers, mixed, torch.where(drawn, noise, points))
        return self.nearest(mixed)

    def volume(self, low: Tensor, high: Tensor) -> float:
        """Return the volume of a box from `low` (d,) to `high` (d,), where a half of the categories is a half."""
        volume = float((high - low)[self.is_number].log().sum().exp())
        for axes in self._groups():
            volume *= float(self._allowed(axes, low, high).double().mean())
        return volume

    def divide(self, low: Tensor, high: Tensor, axis: int, threshold: float) -> tuple[Box, Box]:
        """Return the parts of a box from `low` (d,) to `high` (d,) on either side of a threshold on an axis."""
        left, right = (low, high.clone()), (low.clone(), high.clone())
        left[1][axis] = right[0][axis] = threshold
        if not self.is_number[axis]:
            right[1][self.beside(axis) & ~self.is_number] = 0.0
        return left, right

    def _allowed(self, axes: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return which of the kinds of values that a column's axes (m,) stand for lie in a box."""
        is_lacking = low[axes[-1]] >= 0.5
        return torch.where(self.is_number[axes], ~is_lacking, high[axes] > 0.5)

    def _groups(self) -> Iterator[Tensor]:
        """Yield the axes of each column that has several."""
        columns, counts = self.column.unique(return_counts=True)
        for column in columns[counts > 1]:
            yield (self.column == column).nonzero()[:, 0]

    def _by_column(self, values: Tensor) -> Tensor:
        """Return the sums (N, columns) of values (N, d) on the axes of each column."""
        return torch.zeros(len(values), len(self._low), dtype=torch.float64).index_add_(1, self.column, values)


def _axes(i: int, column: Column, width: float) -> list[Axis]:
    """Return the axes of column `i`, whose numbers have a usual range of this width."""
    step = 1 / width if column.integer else 0.0
    axes = [Axis(i, code) for code in range(len(column.categories or ()))] or [Axis(i, step=step)]
    return [*axes, *([Axis(i, missing=True)] if column.optional else [])]
