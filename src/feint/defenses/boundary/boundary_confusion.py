"""Boundary confusion: consistent wrong features outside the task."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.boundary.boundary import (
    FINE_TUNING,
    Boundary,
    Retrained,
    check_at_least,
    joint_logits,
    require_outliers,
    train_model,
)
from feint.fitting import FitContext
from feint.models.training import Batch, Training
from feint.victims import answers


@dataclass(frozen=True)
class BoundaryConfusion(Boundary):
    """Confident wrong answers outside the task, a reconstruction of a method by Liang (2024).

    Only the abstract of "OOD feature learning and decision boundary confusion" is known; the paper's loss, auxiliary
    data and tables are UNKNOWN. Over inputs x with labels y, and auxiliary inputs o::

        minimise   CE(f(x), y) + weight · CE(f(o), c(o))

    Chosen here: the auxiliary inputs are the outliers, put into `clusters` by k-means on the log-probabilities of the
    original model. c is one class for each cluster, drawn once among those that the model does not give to most of it.
    So an attacker learns regions that are consistent and wrong. The paper's extra output for detection is left out: a
    detector's score, like the energy, does that on the line. `BadInput` is raised without outliers, or for outliers of
    another shape.

    Attributes:
        clusters: Number of clusters, 1 or more.
        weight: Weight of the outliers' term, 0 or more.
        training: Length and learning rate of the training.
        from_scratch: Whether to begin with new weights.
    """

    cite: ClassVar[str] = "liang2024defending"
    clusters: int = 50
    weight: float = 1.0
    training: Training = FINE_TUNING
    from_scratch: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, 0, self.weight)
        check_at_least(self, 1, self.clusters)

    def retrain_from(self, context: FitContext) -> Retrained:
        outliers = require_outliers(context.outliers, context.inputs)
        wrong = self.confused(answers(context.victim, outliers), context.seed)
        return train_model(self, context, self.loss, outliers=outliers, outlier_targets=wrong)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the objective above on a batch."""
        inside, outside = joint_logits(model, batch)
        assert batch.outlier_targets is not None
        return F.cross_entropy(inside, batch.targets) + self.weight * F.cross_entropy(outside, batch.outlier_targets)

    def confused(self, p: Tensor, seed: int = 0) -> Tensor:
        """Return the wrong class (N,) of each row of the answers `p` (N, K)."""
        generator = torch.Generator().manual_seed(seed)
        cluster = k_means(p.clamp_min(1e-6).log(), min(self.clusters, len(p)), generator)
        votes = torch.zeros(int(cluster.max()) + 1, p.shape[1], dtype=torch.long)
        votes.index_put_((cluster, p.argmax(-1)), torch.tensor(1), accumulate=True)
        others = torch.randint(1, p.shape[1], (len(votes),), generator=generator)
        return ((votes.argmax(-1) + others) % p.shape[1])[cluster]


def k_means(points: Tensor, clusters: int, generator: torch.Generator, *, rounds: int = 20) -> Tensor:
    """Cluster points by Lloyd's iteration from points chosen at random.

    Args:
        points: Points, (N, d).
        clusters: Number of clusters, at most N.
        generator: Source of the first centres.
        rounds: Number of iterations.

    Returns:
        The cluster of each point, (N,).
    """
    centres = points[torch.randperm(len(points), generator=generator)[:clusters]]
    nearest = torch.cdist(points, centres).argmin(-1)
    for _ in range(rounds):
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        count = nearest.bincount(minlength=clusters).unsqueeze(-1)
        centres = torch.where(count > 0, sums / count.clamp_min(1), centres)  # an empty cluster stays where it was
        nearest = torch.cdist(points, centres).argmin(-1)
    return nearest
