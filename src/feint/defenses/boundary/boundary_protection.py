"""Boundary protection by retraining."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.boundary.boundary import FINE_TUNING, Boundary, Retrained, check_at_least, train_model
from feint.defenses.domains import input_domain
from feint.fitting import FitContext
from feint.models.charts import chart
from feint.models.training import Batch, Training
from feint.signature import Columns, Domain, Pixels


@dataclass(frozen=True)
class BoundaryProtection(Boundary):
    """Boundary away from the inputs, after "PDB" (Zhang, Luo, Pan et al., Neurocomputing 2026).

    With the transition samples t and an extra class K::

        minimise   CE(f(x), y) + penalty · mean ‖∇_x CE(f(x), y)‖² + weight · CE(f(t), K)

    A reconstruction from the abstract. It names a penalty on the input gradient, which moves the boundaries away from
    the inputs, an extra output for "transition samples" near them, and flipped labels for a few queries; all else is
    UNKNOWN.

    Chosen here: during training the network has the classes 0 … K, and the transition samples t = (x + x') / 2 are the
    midpoints of two inputs of a batch with different classes. The result has K classes, so that no label is flipped. A
    query that the extra class would have taken gets the next one, from a network that was never taught to take a side
    there. The norm is over all values of an input in [0, 1], of a row of a table as shares of its columns' ranges.

    Attributes:
        penalty: Weight of the input gradient, 0 or more.
        weight: Weight of the transition samples, 0 or more.
        training: Length and learning rate of the training.
        from_scratch: Whether to begin with new weights.
    """

    cite: ClassVar[str] = "zhang2026retraining"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns)
    penalty: float = 0.1
    weight: float = 1.0
    training: Training = FINE_TUNING
    from_scratch: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, 0, self.penalty, self.weight)

    def retrain_from(self, context: FitContext) -> Retrained:
        """See `Boundary.retrain`; outliers are not used."""
        return train_model(self, context, self.loss, extra_classes=1)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the objective above on a batch."""
        coordinates = chart(input_domain(batch.x, model), batch.x)
        u = coordinates.start.clone().requires_grad_()
        between = coordinates.inputs(*transitions(coordinates.start, batch.targets))
        joined = torch.cat([coordinates.inputs(u), between])
        logits, apart = model(joined).float().split([len(u), len(between)])
        losses = F.cross_entropy(logits, batch.targets, reduction="none")
        (slope,) = torch.autograd.grad(losses.sum(), u, create_graph=True)
        loss = losses.mean() + self.penalty * slope.flatten(1).square().sum(-1).mean()
        if not len(apart):
            return loss
        return loss - self.weight * apart.log_softmax(-1)[:, -1].mean()


def transitions(u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the midpoints (n, …) of inputs and their next ones where their classes `y` (N,) differ, and these rows."""
    rows = (y != y.roll(1, 0)).nonzero()[:, 0]
    return ((u + u.roll(1, 0)) / 2)[rows], rows
