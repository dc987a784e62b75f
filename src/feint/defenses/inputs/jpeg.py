"""JPEG compression."""

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from feint._optional import require
from feint.defenses.inputs.input import Input, check_images
from feint.errors import BadInput, in_range
from feint.signature import Domain, Pixels


@dataclass(frozen=True)
class JPEG(Input):
    """Writes every image as JPEG and reads it back (Guo et al., ICLR 2018).

    Inputs are images (N, 1 or 3, H, W) in [0, 1], rounded to 256 levels first; no quality is the identity. Like all
    fixed transforms it removes the finest structure, where adversarial and synthetic queries differ from photographs.
    It is easily discovered: an attacker who compresses their own images loses nothing.

    Attributes:
        quality: Quality of the JPEG, 1 (coarse) to 100.
    """

    cite: ClassVar[str] = "guo2018countering"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    quality: int = 75

    def __post_init__(self) -> None:
        in_range(self, "quality", "1 (coarse) to 100", 1, 100)

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        check_images(x)
        if x.shape[1] not in (1, 3):
            raise BadInput(f"images of {x.shape[1]} channels", "grey (1) or colour (3)", "use another input defense")
        levels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        read = np.stack([self._compressed(image) for image in levels])
        return torch.from_numpy(read).permute(0, 3, 1, 2).to(x).div_(255)

    def _compressed(self, image: np.ndarray) -> np.ndarray:
        """Return the image (H, W, C) uint8 after the round trip."""
        pillow = require("PIL.Image", "data")
        file = io.BytesIO()
        pillow.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=self.quality)
        return np.asarray(pillow.open(file)).reshape(image.shape)
