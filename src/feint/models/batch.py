"""The batch of one training step, which every loss takes."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What a loss sees of one step: inputs (n, C, H, W) in [0, 1], augmented, and their targets; and, where the
    training has a second stream of them, as many outliers with theirs."""

    x: Tensor
    targets: Tensor
    outliers: Tensor | None = None
    outlier_targets: Tensor | None = None
