"""Usual ranges of the numbers of a domain, as the unit in which they are moved."""

import torch
from torch import Tensor

from feint.signature import Domain


class Ranges:
    """Scale on which the usual range of each feature of a domain is [0, 1]; images lie on it as they are.

    Args:
        domain: Domain of the inputs.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._low, high = torch.from_numpy(domain.usual_range())
        self._width = (high - self._low).clamp_min(torch.finfo(high.dtype).tiny)

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
