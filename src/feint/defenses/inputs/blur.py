"""Gaussian blur."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.inputs.input import Input, check_images
from feint.errors import in_range
from feint.signature import Domain, Pixels


@dataclass(frozen=True)
class Blur(Input):
    """Replaces every pixel by the mean around it, weighted exp(−d² / 2σ²) (Xu et al., NDSS 2018).

    The paper smooths with a median. Inputs are images (N, C, H, W) in [0, 1]. The window reaches 3σ, and the border
    pixels continue outside. Structure finer than σ is hidden from the model, and with it part of the accuracy.

    Attributes:
        sigma: σ in pixels, 0 (the identity) to 100.
    """

    cite: ClassVar[str] = "xu2018feature"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    sigma: float = 0.5

    def __post_init__(self) -> None:
        in_range(self, "sigma", "0 (the identity) to 100 pixels", 0, 100)

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        check_images(x)
        reach = math.ceil(3 * self.sigma)
        if not reach:
            return x
        offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        weights = (-((offsets / self.sigma) ** 2) / 2).softmax(0)
        channels = x.shape[1]
        wide = F.pad(x, (reach, reach, reach, reach), mode="replicate")
        down = F.conv2d(wide, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return F.conv2d(down, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels).clamp(0, 1)
