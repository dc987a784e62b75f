"""Random size and place of every image, drawn by the owner's key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.inputs.input import Input, check_images
from feint.defenses.keyed import uniforms
from feint.defenses.keyed_numbers import check_key
from feint.errors import BadRecipe
from feint.signature import Domain, Pixels


@dataclass(frozen=True)
class RandomResize(Input):
    """Shrinks every image by a random factor and pads it with black at a random place (Xie et al., ICLR 2018).

    The paper enlarges instead. Inputs are images (N, C, H, W) in [0, 1]. The factor is uniform in [`least`, 1], one for
    both sides, bilinear. Factor and place are drawn by the `key` and the image: the same query is answered alike on
    every replica, and repeating it reveals nothing new. One pixel of another level draws anew.

    Attributes:
        key: The owner's secret.
        least: Least factor, above 0 and up to 1 (the identity).
    """

    cite: ClassVar[str] = "xie2018mitigating"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    randomised: ClassVar[bool] = True
    countermeasures: ClassVar[Mapping[str, str]] = {"near copies, 16": "NearCopies(16)"}
    key: str
    least: float = 0.85

    def __post_init__(self) -> None:
        check_key(self.key)
        if not 0 < self.least <= 1:
            raise BadRecipe(f"least={self.least}", "a share above 0, up to 1 (the identity)", "change it")

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        check_images(x)
        full = torch.tensor(x.shape[2:])
        share, *place = uniforms(self.key, x, 3, purpose=f"RandomResize {self.least!r}").unbind(-1)
        small = ((1 - (1 - self.least) * share)[:, None] * full).round_().clamp_min(1).long()
        corner = (torch.stack(place, -1) * (full - small + 1)).long()
        result = torch.zeros_like(x)
        for height, width in small.unique(dim=0).tolist():
            rows = ((small[:, 0] == height) & (small[:, 1] == width)).nonzero()[:, 0]
            shrunk = F.interpolate(x[rows], (height, width), mode="bilinear", antialias=True).clamp_(0, 1)
            for row, (top, left), image in zip(rows.tolist(), corner[rows].tolist(), shrunk, strict=True):
                result[row, :, top : top + height, left : left + width] = image
        return result
