"""Usual ranges of the numbers of a domain."""

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
    drawn = domain.sample(DRAWN, 0, published=True).reshape(DRAWN, -1).astype(np.float64)
    ends = []
    for sign, reduce in ((-1, np.nanmin), (1, np.nanmax)):
        end = domain.clip(np.full((1, *domain.shape), sign * np.inf)).reshape(-1).astype(np.float64)
        ends.append(np.where(np.abs(end) < FAR, end, reduce(drawn, axis=0)))
    return torch.from_numpy(ends[0]), torch.from_numpy(ends[1])
