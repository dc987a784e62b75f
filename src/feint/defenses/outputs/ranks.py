"""Order of a row of probabilities, and the base of output defenses that keep it exactly.

Ranks are best first; among equals the lowest index is first, as with `argmax` and a stable sort. A row keeps its order
through float32, JSON and rounding to `decimals` when each rank exceeds the next by more than one unit of the last
decimal. A staircase of that height is mixed into the row; docs/background/design/order.md has the reason why the margin
is in probability.
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
from feint.defenses.outputs.rows import ranking, replace_rows, running_maximum, unrank
from feint.errors import BadInput, BadRecipe, in_range

SLACK = 1.1  # in units of the last decimal: rounding moves two values together by up to one unit, float32 adds a little


@functools.lru_cache(maxsize=64)
def staircase(classes: int, top: int, decimals: int, floor: float, dtype: torch.dtype) -> tuple[float, Tensor]:
    """Compute the steps that make rows `v`, best first, strict in their first `top` ranks: scale · v + steps.

    Every value is then at least `floor`, and each of these ranks exceeds the next by `SLACK` units of the last decimal.

    Args:
        classes: K.
        top: Ranks to keep apart.
        decimals: Decimals of the API.
        floor: Least probability.
        dtype: Type of the steps.

    Returns:
        The scale, and the steps (K,).

    Raises:
        BadRecipe: if the steps of so many classes do not fit into so few decimals.
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


def separate(ranked: Tensor) -> Tensor:
    """Return rows, best first, scaled to sum to 1, each value raised to exceed the next in six decimals."""
    ranked = ranked / ranked.sum(-1, keepdim=True)
    scale, steps = staircase(ranked.shape[-1], ranked.shape[-1] - 1, 6, 0.0, ranked.dtype)
    rising = (SLACK / scale) * steps.to(ranked.device)  # `scale` for the sum that they may reach, SLACK for float32
    raised = running_maximum((ranked - rising).flip(-1)).flip(-1).add_(rising)
    return raised.div_(raised.sum(-1, keepdim=True))


def raise_label(q: Tensor, p: Tensor) -> Tensor:
    """Scale rows to sum to 1, with the label of `p` above all others in six decimals.

    Args:
        q: Rows ≥ 0, (N, K), changed in place, which do not invert the order of `p`. A row of zeros becomes the label
            alone.
        p: Clean answers, (N, K).

    Returns:
        The rows `q`.
    """
    total = q.sum(-1, keepdim=True)
    # Σ q² > ½ (Σ q)² proves that one value holds more than half: nothing else comes near. Cheaper than a maximum.
    close = q.square().sum(-1) <= 0.51 * total[:, 0].square()
    return replace_rows(q.div_(total.clamp_min(TINY)), close, _raise_label, p)


def _raise_label(q: Tensor, p: Tensor) -> Tensor:
    label = p.argmax(-1, keepdim=True)
    leader, rival = q.gather(-1, label), q.scatter(-1, label, 0).amax(-1, keepdim=True)
    q = q.scatter(-1, label, leader.maximum(rival + SLACK**2 * 1e-6))
    return q.div_(q.sum(-1, keepdim=True))


@dataclass(frozen=True)
class OrderPreserving(Output):
    """Defense that moves an answer far away by `distance` and keeps the order of its first `top` ranks exactly.

    The row goes from the clean answer towards the far one until its budget `epsilon` is used up. The staircase is paid
    from the budget first, so that a budget which does not cover it is refused.

    Attributes:
        top: Ranks whose order is preserved; None for all, 1 for the label alone.
        distance: Distance that is maximised.
        decimals: Decimals of the API, 1 to 6, in which the order must still show.
        strength: Share of the way from the clean answer, 0 (the identity) to 1.
        epsilon: Largest distortion ``Σ |q − p|`` of a row, above 0 and up to 2; one number, or a tuple with one for
            each label.
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
        if not all(0 < budget <= 2 for budget in self._budgets):
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
        """Return a far answer.

        Args:
            ranked: Clean answers, best first, (N, K).
            top: Ranks to keep.

        Returns:
            Answers, best first, (N, K): the first `top` values never rise, and none of those after them is larger.
        """

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
        """Return how far of the way from `ranked` to `far` each row may go within its budget.

        ‖scale · v + steps − p‖₁ ≤ scale · ‖v − p‖₁ + 2 (1 − scale), since the steps sum to 1 − scale.

        Args:
            ranked: Clean answers, best first, (N, K).
            far: Far answers, (N, K).
            label: Labels, (N,).
            scale: Scale of the staircase.

        Returns:
            Shares in [0, 1], (N, 1).

        Raises:
            BadInput: if there are several budgets, and not one for each class.
            BadRecipe: if a budget does not cover the staircase.
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
