"""Discretization of the numbers of a table."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from feint.defenses.domains import input_domain
from feint.defenses.inputs.input import Input
from feint.errors import in_range
from feint.signature import Columns, Domain


@dataclass(frozen=True)
class Discretization(Input):
    """Rounds every number of a row to a grid over its column's range, as `BitDepth` does for pixels.

    x ↦ low + step · round((x − low) / step) with step = `grid` · (high − low), at least 1 for whole numbers, which stay
    whole. Range and step are the published ones of the model's domain. Categories and missing values pass unchanged.
    The defense hides differences smaller than a step, with which an attacker searches for thresholds and boundaries
    (feature squeezing: Xu et al., NDSS 2018, for images; the grid was chosen here). `BadInput` is raised for a column
    of numbers without a published range.

    Attributes:
        grid: Step as a share of the range, 0 (the identity) to 1.
    """

    cite: ClassVar[str] = "xu2018feature"
    domains: ClassVar[tuple[type[Domain], ...]] = (Columns,)
    grid: float = 0.02

    def __post_init__(self) -> None:
        in_range(self, "grid", "0 (the identity) to 1, the whole range", 0, 1)

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        if not self.grid:
            return x
        rounded = x.clone()
        for i, column in enumerate(cast(Columns, input_domain(x, model)).columns):
            if column.categories is not None:
                continue
            low, high = column.require_range()
            step = self.grid * (high - low)
            step = max(1.0, round(step)) if column.integer else step
            if step:
                rounded[:, i] = low + step * torch.round((x[:, i] - low) / step)
        return rounded
