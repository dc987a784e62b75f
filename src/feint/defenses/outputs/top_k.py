"""Cut-off after the k most likely classes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.output import Output
from feint.defenses.outputs.ranks import separate
from feint.defenses.outputs.rows import top_ranks
from feint.errors import in_range


@dataclass(frozen=True)
class TopK(Output):
    """Shows the `k` largest probabilities, scaled to sum to 1, and 0 for the others (Orekondy et al., CVPR 2019).

    Among equals the lowest index is shown. The k classes keep their order exactly: where two of them are within a unit
    of the sixth decimal the better one is raised by that much, and one of probability 0 shows as 0.000001.

    Attributes:
        k: Classes to show, 1 (the label) or more. From K on all are shown, and changed only where the order needs it.
    """

    cite: ClassVar[str] = "orekondy2019knockoff"
    k: int = 3

    def __post_init__(self) -> None:
        in_range(self, "k", "1 (the label) or more classes to show", 1)

    @property
    def preserves(self) -> str:
        return f"top-{self.k}"

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        top = min(self.k, p.shape[-1] - 1)
        ranked, order = top_ranks(p, top + 1)
        ranked[:, self.k :] = 0
        return torch.zeros_like(p).scatter_(-1, order, separate(ranked))
