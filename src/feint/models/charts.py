"""Charts: unit coordinates of inputs, in which perturbations take their steps.

A step of 1/255 means as much in every coordinate: of a pixel one level, of a column that share of its range. What has
no gradient (a category, a missing value, a number outside its column's range) stays as it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from feint.errors import BadInput
from feint.signature import Columns, Domain, Pixels

ALL = slice(None)


class Chart(ABC):
    """Unit coordinates of N inputs.

    Attributes:
        start: Coordinates (N, …) of the inputs, in [0, 1].
    """

    start: Tensor

    @abstractmethod
    def inputs(self, u: Tensor, rows: Tensor | slice = ALL) -> Tensor:
        """Return the inputs (n, …) at coordinates `u` (n, …) of these `rows`, differentiable in `u`.

        They are in the domain wherever `u` is in [0, 1], and the original inputs where `u` is `start`.
        """


class PixelChart(Chart):
    """Coordinates of images: the pixels themselves."""

    def __init__(self, domain: Domain, x: Tensor) -> None:
        self.start = x

    def inputs(self, u: Tensor, rows: Tensor | slice = ALL) -> Tensor:
        return u


class ColumnChart(Chart):
    """Coordinates of the numbers of a table, each in its column's range. Whole numbers are rounded on the way back.

    `BadInput` is raised for a column of numbers without a range.
    """

    def __init__(self, domain: Columns, x: Tensor) -> None:
        ends = [column.require_range() for column in domain.columns]
        self._x, (self._low, high) = x, x.new_tensor(ends).T
        self._span = high - self._low
        self._whole = torch.tensor([column.integer for column in domain.columns], device=x.device)
        numbers = torch.tensor([column.categories is None for column in domain.columns], device=x.device)
        place = (x - self._low) / self._span
        self._moves = numbers & (place >= 0) & (place <= 1)  # false for NaN as well
        self.start = torch.where(self._moves, place, 0.0)

    def inputs(self, u: Tensor, rows: Tensor | slice = ALL) -> Tensor:
        value = self._low + self._span * u
        value = torch.where(self._whole, value + (value.round() - value).detach(), value)
        moved = torch.where(self._moves[rows], value, self._x[rows])
        if u.requires_grad:
            return moved
        return torch.where(u == self.start[rows], self._x[rows], moved)  # else some would differ in their last bit


CHARTS: dict[type[Domain], Callable[..., Chart]] = {Pixels: PixelChart, Columns: ColumnChart}


def chart(domain: Domain, x: Tensor) -> Chart:
    """Return the chart of inputs (N, …) of a domain.

    Raises:
        BadInput: A gradient means nothing in this domain. It is also raised for a column of numbers without a range.
    """
    if type(domain) not in CHARTS:
        nouns = " or ".join(kind.noun for kind in CHARTS)
        raise BadInput(f"{domain.noun}, which have no gradient", nouns, "use a method without gradients")
    return CHARTS[type(domain)](domain, x)
