"""Batch of a training step, the argument of every loss."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of one training step.

    Attributes:
        x: Augmented inputs (n, …).
        targets: Classes (n,) or rows (n, K) on the simplex.
        outliers: As many inputs of a second stream; None where the training has none.
        outlier_targets: Their targets.
    """

    x: Tensor
    targets: Tensor
    outliers: Tensor | None = None
    outlier_targets: Tensor | None = None
