"""Coarsening of the categories of a table."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from feint.defenses.domains import input_domain
from feint.defenses.inputs.input import Input
from feint.errors import BadInput, in_range
from feint.signature import Column, Columns, Domain


@dataclass(frozen=True)
class Coarsening(Input):
    """Replaces rare categories by the most frequent one of their column (Sweeney, IJUFKS 2002).

    This is the generalization of k-anonymity, applied to queries. A category is rare if its published share is below
    `least`. Few rows of the training data have it, and the model's answers to it tell the most of single ones. An
    attacker who asks for every combination learns nothing of rare ones. Numbers and missing values pass
    unchanged. That the most frequent category stands for the rare ones was chosen here, since the model has no category
    for “any other”. `BadInput` is raised for a column of categories without shares.

    Attributes:
        least: Share from which on a category is kept, 0 (the identity) to 1.
    """

    cite: ClassVar[str] = "sweeney2002k"
    domains: ClassVar[tuple[type[Domain], ...]] = (Columns,)
    least: float = 0.01

    def __post_init__(self) -> None:
        in_range(self, "least", "0 (the identity) to 1, the share of all rows", 0, 1)

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        if not self.least:
            return x
        coarse = x.clone()
        for i, column in enumerate(cast(Columns, input_domain(x, model)).columns):
            if column.categories is not None:
                present = ~x[:, i].isnan()
                coarse[present, i] = self._kept(column).to(x)[x[present, i].long()]
        return coarse

    def _kept(self, column: Column) -> Tensor:
        """Return the code that stands for each category of a column."""
        if column.shares is None:
            raise BadInput(
                f"the column {column.name!r} without shares", "the share of each category",
                "describe the table: Columns.describe(…)",
            )  # fmt: skip
        shares = torch.tensor(column.shares)
        return torch.where(shares < self.least, shares.argmax(), torch.arange(len(shares)))
