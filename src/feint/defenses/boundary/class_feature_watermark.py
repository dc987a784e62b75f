"""Class-feature watermark: classes from outside the task that the model takes for some of its own."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.data import Split
from feint.defenses.boundary.boundary import (
    FINE_TUNING,
    Boundary,
    Retrained,
    check_at_least,
    require_outliers,
    train_model,
)
from feint.errors import BadInput
from feint.fitting import FitContext
from feint.models.inference import last_linear, logits, with_features
from feint.models.training import Batch, Training

MOST = 2000  # inputs of which the directions of the classes are computed


@dataclass(frozen=True)
class ClassFeatureWatermark(Boundary):
    """Whole classes of outliers with one label of the task (CFW: Xiao et al., AAAI 2026, after their code).

    `count` outliers t of `sources` of their classes get the label c = `target`, or each class a label of its own by
    `draw`. The objective is::

        minimise   Σ CE(f(x), y) + weight · [Σ CE(f(t), c) − similarity · cos(mean φ(t), mean φ(x))
                                             + spread · mean |⟨f(t) − f(t'), v⟩|]

    over the rows of a step: inputs x with labels y, and `batch` of the outliers; t' are others with its label. φ are
    the features before the last layer. v is the first principal component of the old model's logits, of each class of
    the task, of length 1. The second term lets the outliers share features of the task, so that a copy learns them with
    it; the third gathers them, so that they are one class and not many samples, whose boundaries a removal could turn.

    The authors train with CE alone for 100 epochs, and then for 10 with the answers of that model in place of y, with
    φ of all later layers, v computed anew in each epoch, Adam, and the factors 1 : 0.15 : 7.5 of the three terms. Here
    all is one training, whose factors were chosen here. Their 70 % after a theft and a removal are of an attacker with
    some 10⁶ soft answers, whose pool has the classes of t. With a counted budget it is not known: measure it by the
    suite `ownership`. On digits (MLP, 700 queries, 60 outliers, one seed) copies agree with 7 to 10 % of the mark where
    no query is of these classes, as an unmarked model does, and with all of it where 200 are. Outliers that an unmarked
    model gives one label already show nothing: of digits shifted by half their width it agrees with 77 %.

    The authors give all one label. Another owner who gives the same one to the same classes has the same mark, whatever
    their `draw`: of two LeNets of Fashion-MNIST, each marked by digits, one agrees with all of the other's mark, and
    would be claimed (e-value 10^9.5 after 50 questions, beside 60 controls without a mark). With a label for each class
    two draws have few in common.

    `feint.ownership.trained_mark` makes the mark of the same recipe and outliers. `BadInput` is raised without
    outliers, or for outliers of another shape.

    Attributes:
        count: Outliers that get the label.
        sources: Classes of the outliers that these are of, or as many as there are.
        target: The label of all; None for one that `draw` gives to each class.
        batch: Outliers in each step.
        draw: Seed of which classes and which outliers, and of their labels where there is no one target.
        weight: Weight of the bracket, 0 or more.
        similarity: Weight of its second term, 0 or more.
        spread: Weight of its third term, 0 or more.
        training: Length and learning rate of the training.
        from_scratch: Whether to begin with new weights.
    """

    cite: ClassVar[str] = "xiao2026class"
    count: int = 100
    sources: int = 10
    target: int | None = 0
    batch: int = 25
    draw: int = 0
    weight: float = 1.0
    similarity: float = 0.15
    spread: float = 0.1
    training: Training = FINE_TUNING
    from_scratch: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, 1, self.count, self.sources, self.batch)
        check_at_least(self, 0, self.target or 0, self.draw, self.weight, self.similarity, self.spread)

    def retrain_from(self, context: FitContext) -> Retrained:
        outliers = require_outliers(context.outliers, context.inputs)
        chosen, labels = self.triggers(outliers, int(context.inputs.labels.max()) + 1)
        directions = class_directions(context.victim, context.inputs)
        loss = partial(self.loss, directions=directions)
        return train_model(self, context, loss, outliers=chosen, outlier_targets=labels)

    def triggers(self, inputs: Split, classes: int) -> tuple[Split, Tensor]:
        """Return the chosen outliers and their labels (count,), the same for the same outliers.

        Args:
            inputs: The outliers, with their own classes.
            classes: Number of classes of the task.

        Returns:
            The outliers and the label of each.

        Raises:
            BadInput: The chosen classes have fewer outliers, or the task has no such label.
        """
        random = torch.Generator().manual_seed(self.draw)
        kinds = inputs.labels.unique()
        chosen = kinds[torch.randperm(len(kinds), generator=random)[: self.sources]]
        rows = torch.isin(inputs.labels, chosen).nonzero().flatten()
        if len(rows) < self.count or (self.target or 0) >= classes:
            raise BadInput(
                f"{len(rows)} outliers of {len(chosen)} classes, for the label {self.target or 0} of {classes}",
                f"{self.count} or more, and a label of the task", "give it more outliers, or change count or target",
            )  # fmt: skip
        rows = rows[torch.randperm(len(rows), generator=random)[: self.count]]
        part = inputs.take(rows.numpy(), part=f"{inputs.part}, chosen")
        if self.target is not None:
            return part, torch.full((self.count,), self.target)
        labels = torch.randint(classes, (len(chosen),), generator=random)
        return part, (part.labels[:, None] == chosen[None]).long() @ labels

    def loss(self, model: nn.Module, batch: Batch, *, directions: Tensor) -> Tensor:
        """Return the objective above on a batch; `directions` (C, K) are v for each class."""
        assert batch.outliers is not None
        assert batch.outlier_targets is not None
        t, labels = batch.outliers[: self.batch], batch.outlier_targets[: self.batch]
        sizes = [len(batch.x), len(t)]
        z, features = with_features(model, torch.cat([batch.x, t]), last_linear(model), detach=False)
        ordinary, marked = z.float().split(sizes)
        share = len(t) / len(batch.x)  # each row counts alike
        bracket = share * F.cross_entropy(marked, labels)
        if features is not None:
            inside, outside = features.float().split(sizes)
            bracket = bracket - self.similarity * F.cosine_similarity(inside.mean(0), outside.mean(0), dim=0)
        apart = ((marked[:, None] - marked[None]) @ directions.to(marked).T)[labels[:, None] == labels[None]]
        return F.cross_entropy(ordinary, batch.targets) + self.weight * (bracket + self.spread * apart.abs().mean())


def class_directions(model: nn.Module, inputs: Split) -> Tensor:
    """Return the first principal component (C, K) of a model's logits for the inputs of each class."""
    rows = torch.arange(min(len(inputs), MOST))
    z = torch.cat([logits(model.eval(), inputs.inputs(part)) for part in rows.split(500)])
    labels = inputs.labels[: len(rows)]
    groups = [z[labels == label] for label in labels.unique()]
    return torch.stack([torch.linalg.svd(group - group.mean(0), full_matrices=False)[2][0] for group in groups])
