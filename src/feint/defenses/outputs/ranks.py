"""The order of a row of probabilities, and output defenses that keep it exactly.

Best first; among equals the lowest index is first, as with `argmax` and a stable sort. A row keeps its order through
float32, JSON and rounding to `decimals` when each rank exceeds the next by more than one unit of the last decimal: a
staircase of that height is mixed into the row (docs/background/design/order.md says why the margin is in probability).
"""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.outputs.distances import KL, TINY, Distance
from feint.defenses.outputs.output import Output
from feint.defenses.outputs.rows import mended, ranking, running_maximum, unrank
from feint.errors import BadInput, BadRecipe, in_range

SLACK = 1.1  # in units of the last decimal: rounding moves two values together by up to one unit, float32 adds a little


@functools.lru_cache(maxsize=64)
def staircase(classes: int, top: int, decimals: int, floor: float, dtype: torch.dtype) -> tuple[float, Tensor]:
    """What makes rows `v`, best first, strict in their first `top` ranks: (scale, steps) for `scale * v + steps`.

    Every value is then at least `floor`, and each of these ranks exceeds the next by `SLACK` units of the last
    decimal. Raises `BadRecipe` where so many classes do not fit into so few decimals.
    """
    unit = SLACK * 10.0**-decimals
    steps = unit * (top - torch.arange(classes, dtype=torch.float64)).clamp_min(0) + floor
    scale = 1 - steps.sum().item()
    if scale <= 0:
        raise BadRecipe(
            f"{top} ordered ranks of {classes} classes in {decimals} decimals with a floor of {floor}",
            "steps that add up to less than 1",
            "return more decimals, keep fewer ranks or lower the floor",
        )
    return scale, steps.to(dtype)


def apart(ranked: Tensor) -> Tensor:
    """Rows, best first, scaled to sum to 1, each value raised where it must be to exceed the next in six decimals."""
    ranked = ranked / ranked.sum(-1, keepdim=True)
    scale, steps = staircase(ranked.shape[-1], ranked.shape[-1] - 1, 6, 0.0, ranked.dtype)
    rising = (SLACK / scale) * steps.to(ranked.device)  # `scale` for the sum that they may reach, SLACK for float32
    raised = running_maximum((ranked - rising).flip(-1)).flip(-1).add_(rising)
    return raised.div_(raised.sum(-1, keepdim=True))


def lead(q: Tensor, p: Tensor) -> Tensor:
    """Rows `q` ≥ 0, in place, scaled to sum to 1, in which the label of `p` exceeds all others in six decimals.

    `q` does not invert the order of `p`; a row of zeros becomes the label alone.
    """
    total = q.sum(-1, keepdim=True)
    # Σ q² > ½ (Σ q)² proves that one value holds more than half: nothing else comes near. Cheaper than a maximum.
    close = q.square().sum(-1) <= 0.51 * total[:, 0].square()
    return mended(q.div_(total.clamp_min(TINY)), close, _raised, p)


def _raised(q: Tensor, p: Tensor) -> Tensor:
    label = p.argmax(-1, keepdim=True)
    own, rival = q.gather(-1, label), q.scatter(-1, label, 0).amax(-1, keepdim=True)
    q = q.scatter(-1, label, own.maximum(rival + SLACK**2 * 1e-6))
    return q.div_(q.sum(-1, keepdim=True))


@dataclass(frozen=True)
class OrderPreserving(Output):
    """A defense that moves an answer far away by `distance` and keeps the order of its first `top` ranks exactly.

    `top` is None for the whole order and 1 for the label alone; `decimals` is what the API returns, in which the
    order must still show; `strength` in [0, 1] mixes clean and perturbed answer, and 0 is the identity. `epsilon` caps
    the distortion Σ |q − p| of every row, one number for all classes or a tuple with one for each label: the row goes
    from the clean answer towards the far one until it is used up. The staircase is paid from it first, so that a budget
    which does not cover it is refused.
    """

    countermeasures: ClassVar[Mapping[str, str]] = {
        "sharpened, T 0.01": "Sharpened(0.01)",
        "rank targets": "RankTargets()",
    }
    top: int | None = None
    distance: Distance = KL()
    decimals: int = 6
    strength: float = 1.0
    epsilon: float | tuple[float, ...] = 2.0

    def __post_init__(self) -> None:
        if not all(0 < it <= 2 for it in self._budgets):
            raise BadRecipe(f"epsilon={self.epsilon}", "above 0, and at most 2, the largest L1 distance", "change it")
        if self.top is not None and self.top < 1:
            raise BadRecipe(f"top={self.top}", "None for the whole order, or 1 (the label) and more", "change it")
        in_range(self, "decimals", "1 to 6, what float32 can tell apart near 1", 1, 6)
        in_range(self, "strength", "0 (the identity) to 1", 0, 1)

    @property
    def _budgets(self) -> tuple[float, ...]:
        return self.epsilon if isinstance(self.epsilon, tuple) else (self.epsilon,)

    @property
    def preserves(self) -> str:
        return {None: "order", 1: "label"}.get(self.top, f"top-{self.top}")

    @abstractmethod
    def propose(self, ranked: Tensor, top: int) -> Tensor:
        """A far answer (N, K) to `ranked` (N, K), both best first: its first `top` values never rise, and none of
        those after them is larger."""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if self.strength == 0:
            return p
        classes = p.shape[-1]
        top = min(self.top or classes, classes - 1)  # K − 1 ranks in order are the whole order
        scale, steps = staircase(classes, top, self.decimals, self.distance.floor, p.dtype)
        ranked, order = ranking(p)
        far = self.propose(ranked, top)
        if self.strength < 1:
            far = torch.lerp(ranked, far, self.strength)
        if min(self._budgets) < 2:
            far = torch.lerp(ranked, far, self._share(ranked, far, order[:, 0], scale))
        return unrank(torch.add(steps.to(p.device), far, alpha=scale), order)

    def _share(self, ranked: Tensor, far: Tensor, label: Tensor, scale: float) -> Tensor:
        """How far (N, 1) of the way from `ranked` to `far` each row may go within its budget.

        ‖scale · v + steps − p‖₁ ≤ scale · ‖v − p‖₁ + 2 (1 − scale), since the steps sum to 1 − scale.
        """
        budgets = torch.tensor(self._budgets, dtype=ranked.dtype, device=ranked.device)
        if len(budgets) not in (1, ranked.shape[-1]):
            raise BadInput(f"{len(budgets)} budgets for {ranked.shape[-1]} classes", "one, or one a class", "change it")
        if min(self._budgets) < 2 * (1 - scale):
            raise BadRecipe(
                f"epsilon={self.epsilon} where the steps that keep the order need {2 * (1 - scale):.2g}",
                "a larger budget",
                "raise epsilon, return more decimals or keep fewer ranks",
            )
        left = (budgets.expand(ranked.shape[-1])[label] - 2 * (1 - scale)) / scale
        return (left / (far - ranked).abs().sum(-1).clamp_min(1e-12)).clamp_max(1)[:, None]
