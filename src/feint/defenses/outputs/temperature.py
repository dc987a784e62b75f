"""Temperature scaling of the answers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from feint.defenses.outputs.output import Output
from feint.defenses.outputs.ranks import raise_label
from feint.errors import in_range


@dataclass(frozen=True)
class Temperature(Output):
    """Temperature scaling, softmax(log p / temperature) (Guo et al., ICML 2017, there to calibrate).

    It is computed as (p / max p)^(1/temperature), scaled to sum to 1, which does not underflow; a class of probability
    0 stays 0. The map rises, but probabilities that it moves together look equal after rounding, so that of the order
    only the label is promised. An attacker who knows the temperature can invert it.

    Attributes:
        temperature: 0.01 to 100: flatter above 1, sharper below, and 1 is the identity.
    """

    cite: ClassVar[str] = "guo2017calibration"
    temperature: float = 2.0

    def __post_init__(self) -> None:
        in_range(self, "temperature", "0.01 to 100, where 1 is the identity", 0.01, 100)

    @property
    def preserves(self) -> str:
        return "label"

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.temperature == 1:
            return p
        return raise_label((p / p.amax(-1, keepdim=True)).pow_(1 / self.temperature), p)

    def elementwise(self, p: Tensor) -> Tensor:
        """Return p^(1/temperature) of each probability: the map without its scale, as an attacker knows it."""
        return p.pow(1 / self.temperature)
