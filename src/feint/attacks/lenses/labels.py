"""Lenses that replace each answer by a function of its label, its ranking or its fitted temperature.

Defenses that preserve the label or the order leave these intact.
"""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from feint.attacks.lenses.lens import PointwiseLens
from feint.errors import BadRecipe, in_range

SAMPLED = 4_000_000  # numbers drawn for the expected order statistics: 400,000 rows of 10 classes


@dataclass(frozen=True)
class HardLabels(PointwiseLens):
    """The label alone, as a one-hot row, which no label-preserving defense can take away.

    The argmax attack on label-preserving defenses (Orekondy et al., ICLR 2020, §5.2).
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    labels_only: ClassVar[bool] = True

    def send(self, x: Tensor) -> Tensor:
        return x

    def read(self, p: Tensor) -> Tensor:
        return F.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)


@dataclass(frozen=True)
class Sharpened(PointwiseLens):
    """Answers sharpened to p^(1/temperature), scaled to sum to 1 (Berthelot et al., NeurIPS 2019).

    Computed on logarithms in float64: answers that differ in their fifth decimal, like those of a defense that makes
    them nearly uniform, take a temperature of 0.01 or less, and powers of 1/0.01 would underflow. A class of
    probability 0 stays 0. Tied classes stay tied.

    Args:
        temperature: 1e-6 or more; 1 is the identity, and above 1 answers are flattened.
    """

    cite: ClassVar[str] = "berthelot2019mixmatch"
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not 1e-6 <= self.temperature < math.inf:
            raise BadRecipe(f"temperature={self.temperature}", "1e-6 or more, where 1 is the identity", "change it")

    def send(self, x: Tensor) -> Tensor:
        return x

    def read(self, p: Tensor) -> Tensor:
        return (p.double().log() / self.temperature).softmax(-1).to(p.dtype)


@dataclass(frozen=True)
class RankTargets(PointwiseLens):
    """The expected answer given the order of its classes.

        target of the class of rank r  =  E p_(r),   p ~ Dirichlet(concentration/K, …), p_(1) ≥ p_(2) ≥ … ≥ p_(K)

    Against defenses that keep the order and erase the rest, like that of Cheng and Cheng (ICASSP 2023); not a method of
    that paper. Under a prior that treats all classes alike, the target is the mean of the posterior, the best in
    squared error. Classes whose answers are equal share the mean of their ranks' targets.

    Args:
        concentration: Concentration of the prior, 0.01 (one-hot) to 1e6 (uniform). 1 expects a sure victim: 0.66, 0.21,
            0.08, … with ten classes, 0.63, 0.21, 0.09, … with a hundred; K is the uniform prior.
    """

    cite: ClassVar[str] = "cheng2023apgp"
    concentration: float = 1.0

    def __post_init__(self) -> None:
        in_range(self, "concentration", "0.01 (one-hot) to 1e6 (uniform)", 0.01, 1e6)

    def send(self, x: Tensor) -> Tensor:
        return x

    def read(self, p: Tensor) -> Tensor:
        sorted_p, classes = p.sort(-1, descending=True)
        group = F.pad(sorted_p[:, 1:] != sorted_p[:, :-1], (1, 0)).long().cumsum(-1)  # equal neighbours, equal number
        expected = expected_sorted(p.shape[-1], self.concentration).expand(len(p), -1)
        none = torch.zeros_like(expected)
        mean = none.scatter_add(-1, group, expected) / none.scatter_add(-1, group, none + 1).clamp_min(1)
        return torch.zeros_like(p).scatter_(-1, classes, mean.gather(-1, group).to(p.dtype))


@functools.cache
def expected_sorted(classes: int, concentration: float) -> Tensor:
    """Return the expected entries, largest first, of a symmetric Dirichlet vector: the mean of many, in float64.

    Args:
        classes: K, entries of the vector.
        concentration: Sum of the parameters of the distribution.

    Returns:
        The expected entries (K,).
    """
    generator, rows = np.random.default_rng(0), max(100, SAMPLED // classes)
    total, done = np.zeros(classes), 0
    while done < rows:
        drawn = generator.standard_gamma(concentration / classes, (min(10_000, rows - done), classes))
        sums = drawn.sum(1, keepdims=True)
        drawn = np.sort((drawn / np.maximum(sums, np.finfo(float).tiny))[sums[:, 0] > 0], axis=1)
        total, done = total + drawn.sum(0), done + len(sums)
    return torch.from_numpy(total[::-1] / total.sum())
