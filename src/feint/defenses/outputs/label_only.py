"""The label and nothing else."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.output import Output


@dataclass(frozen=True)
class LabelOnly(Output):
    """1 for the label and 0 for every other class: a prediction API without confidences (Tramèr et al., USENIX 2016).

    The label is the class with the largest probability, the lowest index among equals. There is no strength: either
    the confidences are shown or they are not.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    labels_only: ClassVar[bool] = True

    @property
    def preserves(self) -> str:
        return "label"

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        return torch.zeros_like(p).scatter_(-1, p.argmax(-1, keepdim=True), 1.0)
