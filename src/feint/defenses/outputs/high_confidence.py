"""High-confidence cut-off."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.defenses.outputs.output import Output
from feint.defenses.outputs.ranks import raise_label
from feint.errors import in_range


@dataclass(frozen=True)
class HighConfidence(Output):
    """Shows only probabilities of `threshold` and more; the others become 0 (ART, Nicolae et al. 2018).

    ART leaves rows that no longer sum to 1, or hold nothing but zeros. Here the rest is scaled to sum to 1, and where
    nothing reaches the threshold the label alone is shown.

    Attributes:
        threshold: Least probability that is shown, 0 (the identity) to 1.
    """

    cite: ClassVar[str] = "nicolae2018adversarial"
    threshold: float = 0.25

    def __post_init__(self) -> None:
        in_range(self, "threshold", "a probability from 0 (the identity) to 1", 0, 1)

    @property
    def preserves(self) -> str:
        return "label"

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.threshold == 0:
            return p
        return raise_label(p * (p >= self.threshold), p)
