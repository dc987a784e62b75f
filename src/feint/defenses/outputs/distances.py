"""How far a perturbed answer `q` is from the clean answer `p`: what APGP makes as large as it can.

Each distance offers two views: of any two rows, and of the rows that are uniform on the first n classes of `p` in a
given sequence, for all n at once. The second is where the optimum lies (docs/background/design/apgp.md): each distance
but one is convex in `q`, the cosine quasi-convex, so that the largest value is at a vertex of what the order allows.
"""

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from feint.errors import BadRecipe

TINY = 1e-12  # below this a probability counts as this: a logarithm of 0 would hide every other class


class Distance(ABC):
    """A distance between rows of probabilities, and the least probability (`floor`) that keeps it finite."""

    floor: float = 0.0

    @abstractmethod
    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        """The distance (N,) of every row of `q` (N, K) from that of `p` (N, K). Differentiable in `q`."""

    @abstractmethod
    def of_prefixes(self, p: Tensor) -> Tensor:
        """For n = 1 … K the distance (N, K) from `p` of the row that is 1/n on the first n classes.

        Up to an increasing function that is the same for all n, which the largest one does not depend on.
        """


@functools.lru_cache(maxsize=16)
def _counts(classes: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """n = 1 … K, and log n."""
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
    """KL(p ‖ q) in nats, where every class is given at least `floor`. Raises `BadRecipe` without one."""

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
    """Σ |q − p|, at most 2."""

    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        return (q - p).abs().sum(-1)

    def of_prefixes(self, p: Tensor) -> Tensor:
        # Twice the mass that q has and p has not; q exceeds p on the prefix alone.
        gains = [(1 / n - p[:, :n]).clamp_min(0).sum(-1) for n in range(1, p.shape[-1] + 1)]
        return 2 * torch.stack(gains, -1)


@dataclass(frozen=True)
class L2(Distance):
    """Σ (q − p)², squared so that its gradient is smooth; at most 2."""

    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        return (q - p).square().sum(-1)

    def of_prefixes(self, p: Tensor) -> Tensor:
        n, _ = _counts(p.shape[-1], p.dtype, p.device)
        return (1 - 2 * p.cumsum(-1)) / n  # Σ p² is the same for all n


@dataclass(frozen=True)
class Cosine(Distance):
    """1 − cos(q, p), at most 1."""

    def __call__(self, q: Tensor, p: Tensor) -> Tensor:
        return 1 - torch.cosine_similarity(q, p, dim=-1)

    def of_prefixes(self, p: Tensor) -> Tensor:
        n, _ = _counts(p.shape[-1], p.dtype, p.device)
        return -p.cumsum(-1) / n.sqrt()
