"""The inverse of a constant that a defense adds to one class of each answer."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.lenses.fitted_lens import Decoder, FittedOracle
from feint.attacks.lenses.lens import DefenseLike, Lens, labels_only_conflict
from feint.errors import BadRecipe, in_range
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback

CANDIDATES = 3  # classes, of which one is the raised one: more do not have room for a constant that matters
LEAST = 1e-6  # probability that counts in the prior


@dataclass(frozen=True)
class Subtracted(Lens):
    """Answers without the constant that a defense adds to one class (after Orekondy et al., ICLR 2020).

    MAD moves an answer p towards a corner e_c by ε in L1, which is this map, with δ = ε/2::

        q_c = p_c + δ,    q_j = p_j (1 − q_c) / (1 − p_c)

    Its corners do not depend on the answer alone, but few classes are corners, often one. The attacker estimates δ as
    the `level`-quantile of the second largest probability over the `first` answers, or of one class's probability if
    that is larger. Of the classes that hold δ, they take as c the one for which this is largest::

        log w_c − (1 − 1/K) Σ_k log p_k,      w_c the share of answers of which class c holds δ

    so that a rare corner and an unsure victim are unlikely. An answer without such a class stays as it is. Not a method
    of the paper, whose attackers know nothing of ε.

    Args:
        level: Share of answers that hold less than the constant, between 0 and 1.
        first: Answers on which the constant is estimated, 2 or more.
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    level: float = 0.25
    first: int = 1000

    def __post_init__(self) -> None:
        in_range(self, "level", "a share of the answers, between 0 and 1", 0, 1)
        if self.first < 2:
            raise BadRecipe(repr(self), "first ≥ 2", "raise it")

    def incompatible(self, defense: DefenseLike) -> str | None:
        return labels_only_conflict(defense)

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return FittedOracle(oracle, self, self.first, lambda _, p: self.decoder(p))

    def decoder(self, p: Tensor) -> Decoder:
        """Return the inverse of the map, with the constant of the answers `p` (N, K)."""
        second = p.topk(2).values[:, 1]
        constant = float(torch.cat([p, second[:, None]], 1).double().quantile(self.level, 0).max()) - LEAST
        log_share = (p >= constant).double().mean(0).clamp_min(LEAST).log()
        return lambda q: _subtract(q, constant, log_share)


def _subtract(q: Tensor, constant: float, log_share: Tensor) -> Tensor:
    """Return answers `q` (N, K) without `constant` at the likeliest class, given log w (K,)."""
    high, raised = q.double().topk(min(CANDIDATES, q.shape[1]))
    low, others = high - constant, q.double().sum(-1, keepdim=True) - high
    possible = (low >= 0) & (others > 0)
    p = q.double()[:, None] * ((1 - low) / torch.where(possible, others, 1.0))[:, :, None]
    p = p.scatter(2, raised[:, :, None], low[:, :, None])
    score = log_share[raised] - (1 - 1 / q.shape[1]) * p.clamp_min(LEAST).log().sum(-1)
    best = score.masked_fill(~possible, -torch.inf).argmax(1)
    chosen = p[torch.arange(len(q)), best].to(q.dtype)
    return torch.where(possible.any(1, keepdim=True), chosen, q)
