"""ModelGuard-W: the least informative answer at a capped distortion."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.defenses.outputs._linear_programs import least_cost_with_label
from feint.defenses.outputs.output import Output
from feint.defenses.outputs.ranks import SLACK
from feint.errors import BadRecipe, in_range

UNIT = 1e-6  # the last decimal that must still show the label


@dataclass(frozen=True)
class ModelGuardW(Output):
    """Answer of least information within an L1 budget that keeps the label (Tang et al., USENIX Security 2024).

    The answer solves::

        min_q  Σ q_i log(p_i + 10⁻⁶)   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,  q_top − q_j ≥ margin for all j ≠ top

    The published code passes each row to a solver of linear programs; here all rows are solved at once and exactly.
    Where the two constraints conflict, because `p` is tied or nearly tied at its top, the label wins: ε is exceeded by
    as little as the margin needs, at most 2 · margin. `BadRecipe` is raised where K classes leave no room for it.

    Attributes:
        epsilon: ε, 0 (the identity) to 2.
        margin: Lead of the label, from 1.1·10⁻⁶, which 6 decimals can show, to below 0.5.
    """

    cite: ClassVar[str] = "tang2024modelguard"
    epsilon: float = 1.0
    margin: float = 1e-4

    def __post_init__(self) -> None:
        in_range(self, "epsilon", "0 (the identity) to 2, the largest L1 distance", 0, 2)
        if not SLACK * UNIT <= self.margin < 0.5:
            known = f"{SLACK * UNIT:.2g}, what 6 decimals can show, to 0.5"
            raise BadRecipe(f"margin={self.margin}", known, "change it")

    @property
    def preserves(self) -> str:
        return "label"

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.epsilon == 0:
            return p
        classes = p.shape[-1]
        if (classes - 1) * self.margin >= 1:
            raise BadRecipe(f"margin={self.margin} with {classes} classes", "less than 1/(K − 1)", "lower it")
        return least_cost_with_label((p.double() + 1e-6).log(), p, self.epsilon, self.margin)
