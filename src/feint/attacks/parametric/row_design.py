"""Inputs whose answers determine the parameters of a linear model of their features."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from feint.attacks.parametric.linear_parameters import with_head
from feint.attacks.parametric.unit_space import UnitSpace
from feint.attacks.probing import BATCH
from feint.models.inference import penultimate
from feint.models.networks import Classifier, Network

CANDIDATES = 4  # random rows for each feature, among which the first rows are chosen
NOTHING = 1e-9  # a square below this share of the greatest is what rounding leaves of dependent features


@dataclass(frozen=True, eq=False)
class RowDesign:
    """Inputs of which the first `least` have features that are linearly independent.

    Attributes:
        x: Inputs (n, …).
        features: Features (n, d) of the inputs, and a one after them, which belongs to the bias.
        least: Fewest inputs whose answers determine the parameters, as far as the logits of any input depend on them.
        model: A network that ends in a linear layer, whose parameters are to be found.
    """

    x: Tensor
    features: Tensor
    least: int
    model: Classifier

    @classmethod
    def draw(cls, surrogate: Network, count: int, scale: float, generator: torch.Generator) -> "RowDesign":
        """Draw random valid rows of a table.

        Args:
            surrogate: The network `linear`.
            count: Number of rows.
            scale: Share of their usual range that numbers take, around its middle.
            generator: Generator of the rows.

        Returns:
            The design.
        """
        space = UnitSpace(surrogate.domain)
        candidates = CANDIDATES * (len(space) + 1)
        points = space.draw(max(count, candidates), generator)
        is_present = ~space.lacking(points)[:, space.column]
        points = torch.where(space.is_number & is_present, 0.5 + scale * (points - 0.5), points)
        return cls.among(surrogate.build(), space.inputs(points), count, candidates)

    @classmethod
    def among(cls, model: Classifier, x: Tensor, count: int, candidates: int) -> "RowDesign":
        """Choose inputs by their features.

        Args:
            model: A network that ends in a linear layer.
            x: Inputs (N, …).
            count: Number of inputs to choose, at most N.
            candidates: Number of the first inputs among which the first `least` are chosen.

        Returns:
            The design.
        """
        read = torch.cat([penultimate(model.eval(), part) for part in x.split(BATCH)]).double().cpu()
        rows = torch.cat([read, torch.ones(len(x), 1, dtype=torch.float64)], 1)
        first = independent_rows(rows[:candidates] / _size(rows))
        is_rest = torch.ones(len(x), dtype=torch.bool).index_fill_(0, first, False)
        chosen = torch.cat([first, is_rest.nonzero()[:, 0]])[:count]
        return cls(x[chosen], rows[chosen], len(first), model)

    @property
    def count(self) -> int:
        """Number of inputs."""
        return len(self.x)

    def inputs(self, size: int) -> Iterator[Tensor]:
        """Yield the inputs in batches of at most `size`."""
        yield from self.x.split(size)

    def classifier(self, z: Tensor) -> Classifier:
        """Return the network with the linear layer whose logits are nearest to `z` (n, K), those of the first n."""
        size = _size(self.features)
        solution = torch.linalg.lstsq(self.features[: len(z)] / size, z, driver="gelsd").solution / size[:, None]
        return with_head(self.model, solution[:-1].T, solution[-1])


def independent_rows(rows: Tensor) -> Tensor:
    """Choose rows that are linearly independent, as many as there are: each is the furthest from those before.

    Args:
        rows: Rows (n, d).

    Returns:
        Numbers (r,) of the rows.
    """
    left, chosen = rows.clone(), list[int]()
    for _ in range(rows.shape[1]):
        square, row = left.square().sum(1).max(0)
        if square <= NOTHING * rows.square().sum(1).max():
            break
        chosen.append(int(row))
        direction = left[row] / square.sqrt()
        left -= (left @ direction)[:, None] * direction
    return torch.tensor(chosen)


def _size(features: Tensor) -> Tensor:
    """Return the root mean square (d,) of each feature, 1 where it is 0."""
    size = features.square().mean(0).sqrt()
    return torch.where(size > 0, size, 1.0)
