"""Usual ranges of the numbers of a domain, as the unit in which they are moved."""

import numpy as np
import torch
from torch import Tensor

from feint.signature import Domain

FAR = 1e299  # a number that nobody means: `clip` stops there where a column publishes no end of its range
DRAWN = 1000  # inputs that stand for a range that is not published


def usual_range(domain: Domain) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest usual value of each feature, both (d,) float64.

    They are the ends into which `Domain.clip` brings everything, and those of random inputs where there are none.
    """
    ends = np.full((2, *domain.shape), np.inf)
    ends[0] *= -1
    low, high = domain.clip(ends).reshape(2, -1).astype(np.float64)
    if max(-low.min(), high.max()) >= FAR:
        drawn = domain.sample(DRAWN, 0).reshape(DRAWN, -1)
        low = np.where(low > -FAR, low, np.nanmin(drawn, axis=0))
        high = np.where(high < FAR, high, np.nanmax(drawn, axis=0))
    return torch.from_numpy(low), torch.from_numpy(high)


class Ranges:
    """Scale on which the usual range of each feature of a domain is [0, 1]; images lie on it as they are.

    Args:
        domain: Domain of the inputs.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        low, high = usual_range(domain)
        self._low, self._width = low.view(domain.shape), (high - low).clamp_min(torch.finfo(low.dtype).tiny)
        self._width = self._width.view(domain.shape)

    def scaled(self, x: Tensor) -> Tensor:
        """Return inputs (N, …) on the scale."""
        return (x - self._low.to(x)) / self._width.to(x)

    def numbers(self, scaled: Tensor) -> Tensor:
        """Return what lies at places on the scale (N, …), with a slope and perhaps between valid inputs."""
        return scaled * self._width.to(scaled) + self._low.to(scaled)

    def inputs(self, scaled: Tensor) -> Tensor:
        """Return the valid inputs (N, …) nearest to places on the scale."""
        x = self.numbers(scaled.detach())
        return torch.from_numpy(self._domain.clip(x.cpu().numpy())).to(x.device)
