"""Distances of a perturbed answer `q` from the clean answer `p`, which APGP maximises.

Each distance has two forms: between any two rows, and to the rows that are uniform on the first n classes of `p` in a
sequence, for all n at once. The optimum lies among the latter (docs/background/design/apgp.md): each distance but one
is convex in `q`, the cosine quasi-convex, so that the largest value is at a vertex of the polytope that the order
allows.
"""

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from feint.errors import BadRecipe

TINY = 1e-12  # least probability in a logarithm: that of 0 would hide every other class


class Distance(ABC):
    """Distance between rows of probabilities.

    Attributes:
        floor: Least probability that keeps the distance finite.
    """

    floor: float = 0.0

    @abstractmethod
    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        """Return the distance (N,) of every row of `q` (N, K) from that of `p` (N, K), differentiable in `q`."""

    @abstractmethod
    def of_prefixes(self, p: Tensor) -> Tensor:
        """Return the distances of the rows that are 1/n on the first n classes.

        They hold up to an increasing function that is the same for all n, on which the largest one does not depend.

        Args:
            p: Answers in the sequence, (N, K).

        Returns:
            Distances for n = 1 … K, (N, K).
        """


@functools.lru_cache(maxsize=16)
def _counts(classes: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return n = 1 … K, and log n."""
    n = torch.arange(1, classes + 1, dtype=dtype, device=device)
    return n, n.log()


@dataclass(frozen=True)
class KL(Distance):
    """KL(q ‖ p) in nats, the literal reading of APGP's objective."""

    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        return (q * (q.clamp_min(TINY).log() - p.clamp_min(TINY).log())).sum(-1)

    def of_prefixes(self, p: Tensor) -> Tensor:
        n, log_n = _counts(p.shape[-1], p.dtype, p.device)
        return p.clamp_min(TINY).log_().cumsum(-1).div_(n).add_(log_n).neg_()


@dataclass(frozen=True)
class ReverseKL(Distance):
    """KL(p ‖ q) in nats, where every class gets at least `floor`.

    Attributes:
        floor: Least probability, above 0 and below 0.5; `BadRecipe` is raised without it.
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.floor < 0.5:
            raise BadRecipe(
                f"KL(p ‖ q) with a floor of {self.floor}",
                "a floor above 0: as any q with p > 0 comes near 0 it grows without limit, and nothing is its maximum",
                "write ReverseKL(floor=1e-4), or use KL()",
            )

    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        return (p * (p.clamp_min(TINY).log() - q.clamp_min(TINY).log())).sum(-1)

    def of_prefixes(self, p: Tensor) -> Tensor:
        n, _ = _counts(p.shape[-1], p.dtype, p.device)
        inside, share = p.cumsum(-1), (1 - p.shape[-1] * self.floor) / n
        return -inside * (self.floor + share).log() - (1 - inside).clamp_min(0) * math.log(self.floor)


@dataclass(frozen=True)
class L1(Distance):
    """Sum of absolute differences, ``Σ |q − p|``, at most 2."""

    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        return (q - p).abs().sum(-1)

    def of_prefixes(self, p: Tensor) -> Tensor:
        # Twice the mass that q has and p has not; q exceeds p on the prefix alone.
        gains = [(1 / n - p[:, :n]).clamp_min(0).sum(-1) for n in range(1, p.shape[-1] + 1)]
        return 2 * torch.stack(gains, -1)


@dataclass(frozen=True)
class L2(Distance):
    """Sum of squared differences, Σ (q − p)², squared so that its gradient is smooth; at most 2."""

    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        return (q - p).square().sum(-1)

    def of_prefixes(self, p: Tensor) -> Tensor:
        n, _ = _counts(p.shape[-1], p.dtype, p.device)
        return (1 - 2 * p.cumsum(-1)) / n  # Σ p² is the same for all n


@dataclass(frozen=True)
class Cosine(Distance):
    """Cosine distance, 1 − cos(q, p), at most 1."""

    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        return 1 - torch.cosine_similarity(q, p, dim=-1)

    def of_prefixes(self, p: Tensor) -> Tensor:
        n, _ = _counts(p.shape[-1], p.dtype, p.device)
        return -p.cumsum(-1) / n.sqrt()
