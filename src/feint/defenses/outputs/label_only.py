"""Label without confidences."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.output import Output


@dataclass(frozen=True)
class LabelOnly(Output):
    """Label alone: 1 for it and 0 for every other class (Tramèr et al., USENIX 2016).

    The label is the class with the largest probability, the lowest index among equals. There is no strength: the
    confidences are either shown or not.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    labels_only: ClassVar[bool] = True

    @property
    def preserves(self) -> str:
        return "label"

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        return torch.zeros_like(p).scatter_(-1, p.argmax(-1, keepdim=True), 1.0)
