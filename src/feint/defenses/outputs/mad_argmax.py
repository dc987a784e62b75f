"""Maximising angular deviation: prediction poisoning that keeps the label."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.defenses.outputs.corners import Gradients, LastLayer
from feint.defenses.outputs.mad import towards
from feint.defenses.outputs.output import Output
from feint.defenses.outputs.ranks import SLACK
from feint.defenses.outputs.surrogates import drawn, ready
from feint.errors import BadRecipe
from feint.networks import Network
from feint.victims import Trained
from feint.watch import SILENT, Watch

STEP = SLACK * 1e-6  # by which the label stands above the others, so that it survives rounding to 6 decimals


@dataclass(frozen=True)
class MADArgmax(Output):
    """MAD with the label kept, MAD-argmax (Orekondy, Schiele and Fritz, ICLR 2020).

        max_q ‖Gᵀq/|Gᵀq| − Gᵀp/|Gᵀp|‖²   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,  argmax q = argmax p

    as in the paper: the best corner of the answers with this label, which is uniform on a set S that holds it, and
    q = (1 − a)p + a·u_S with a = ε/‖p − u_S‖₁, at most 1. The published code looks at all 2^(K−1) sets one by one up to
    10 classes and is greedy above. `gradients` says how S is found here: `LastLayer` (exact up to 12 classes, see
    there), `AllParameters`. 1.1·10⁻⁶ of q goes to the label, so that ties keep it (the paper's bonus is 10⁻⁵).
    `epsilon` in [0, 2]; 0 is the identity.

    F is a fixed network with random weights: the victim's architecture, drawn from the seed of `fit`.
    Raises `NotFitted` without a surrogate, `BadInput` without `x` or for inputs of another shape or another K.
    """

    cite: ClassVar[str] = "orekondy2020prediction"
    epsilon: float = 1.0
    gradients: Gradients = LastLayer()
    network: Network | None = None
    surrogate: Trained | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 2:
            raise BadRecipe(f"epsilon={self.epsilon}", "0 (the identity) to 2, the largest L1 distance", "change it")

    @property
    def preserves(self) -> str:
        return "label"

    def fit(
        self,
        victim: nn.Module,
        inputs: Split,
        *,
        outliers: Split | None = None,
        seed: int = 0,
        watch: Watch = SILENT,
    ) -> Self:
        """This recipe with a surrogate of random weights; the data are not looked at."""
        return replace(self, surrogate=drawn(victim, self.network, seed))

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.epsilon == 0:
            return p
        model = ready(self.surrogate, p, x)
        assert x is not None  # `ready` saw to it
        chosen = self.gradients.uniform(model, x, p).to(p)
        q = towards(p, chosen / chosen.sum(-1, keepdim=True), self.epsilon) * (1 - STEP)
        return q.scatter_add_(-1, p.argmax(-1, keepdim=True), torch.full_like(q[:, :1], STEP))
