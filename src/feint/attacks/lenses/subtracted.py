"""The inverse of a constant that a defense adds to one class."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from feint.attacks.lenses.fitted_lens import Decoder, FittedOracle
from feint.attacks.lenses.lens import DefenseLike, Lens, labels_only_conflict
from feint.errors import BadRecipe, in_range
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class Subtracted(Lens):
    """Answers without the constant that a defense adds to one class (after Orekondy et al., ICLR 2020).

    MAD moves an answer p towards a corner e_c by ε in L1, which is this map::

        q_c = p_c + ε/2,    q_j = p_j (1 − q_c) / (1 − p_c)

    Its corner is one fixed class for 77 to 98 % of queries, whatever the surrogate. The attacker takes as c the class
    whose probability has the largest `level`-quantile over the `first` answers, takes this quantile as the constant,
    and inverts the map. An answer with less of class c stays as it is. Where no class is raised, the quantile is near
    0, and so is the change. Not a method of the paper.

    Args:
        level: Share of answers that hold less of class c than the constant, between 0 and 1: those of another corner.
        first: Answers on which c and the constant are estimated, 2 or more.
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
        """Return the inverse of the map, with the class and the constant of the answers `p` (N, K)."""
        constant, raised = p.double().quantile(self.level, 0).max(0)

        def decode(q: Tensor) -> Tensor:
            high = q[:, raised].double()
            low = torch.where(high >= constant, high - constant, high)
            others = q.double() * ((1 - low) / (1 - high).clamp_min(1e-300))[:, None]
            here = F.one_hot(raised, q.shape[-1]).bool()
            return torch.where(here, low[:, None], others).to(q.dtype)

        return decode
