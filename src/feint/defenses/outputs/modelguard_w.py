"""ModelGuard-W: the answer that tells an attacker least, for a distortion that the owner caps."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from feint.defenses.outputs.output import Output
from feint.defenses.outputs.ranks import SLACK, ranking, unrank
from feint.errors import BadRecipe

CHUNK = 2**17  # numbers worked on at once, so that they stay in the cache: 10,000 rows of 1,000 take 2.0 s, not 6.7
FLAT = 1e-9  # a slope or a gain below this is none: a flat optimum must not depend on the last bit
UNIT = 1e-6  # the last decimal that must still show the label


@dataclass(frozen=True)
class ModelGuardW(Output):
    """The answer of least information within an L1 budget that keeps the label (Tang et al., USENIX Security 2024).

        min_q  Σ q_i log(p_i + 10⁻⁶)   s.t.  q on the simplex,  ‖q − p‖₁ ≤ ε,  q_top − q_j ≥ margin for all j ≠ top

    `epsilon` in [0, 2]; 0 is the identity. The published code gives each row to a solver of linear programs. Here all
    rows are solved at once and exactly: for a given q_top the best others are greedy (the least likely are filled up to
    the cap, the most likely are drained), and the least value is convex and piecewise linear in q_top, so that its
    minimum is where two of its tangents meet.

    Where the two constraints conflict, because `p` is tied or nearly tied at its top, the label wins: ε is exceeded by
    as little as the margin asks for, at most 2 · margin. Raises `BadRecipe` where K classes leave no room for it.
    """

    cite: ClassVar[str] = "tang2024modelguard"
    epsilon: float = 1.0
    margin: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 2:
            raise BadRecipe(f"epsilon={self.epsilon}", "0 (the identity) to 2, the largest L1 distance", "change it")
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
        ranked, order = ranking(p)
        chunks = ranked.split(max(1, CHUNK // classes))
        return unrank(torch.cat([_least_informative(chunk, self.epsilon / 2, self.margin) for chunk in chunks]), order)


def _least_informative(ranked: Tensor, move: float, margin: float) -> Tensor:
    """The optimum (N, K), best first, for answers `ranked` best first, of which `move` may go elsewhere."""
    rows = ranked.double()
    rows = rows / rows.sum(-1, keepdim=True)
    problem = _Problem.of(rows, move, margin)
    return torch.cat([(best := _lowest(problem))[:, None], problem.others(best).q], -1).to(ranked.dtype)


class _Greedy(NamedTuple):
    """The best answers (N, K − 1) of the other classes for a given answer of the top, their value, and its slope."""

    q: Tensor
    value: Tensor
    slope: Tensor


class _Problem(NamedTuple):
    """Rows, best first: the `top` (N), the `rest` (N, K − 1), the `cost` (N, K) of each, and the `move` (N) allowed."""

    top: Tensor
    rest: Tensor
    cost: Tensor
    move: Tensor
    margin: float

    @classmethod
    def of(cls, rows: Tensor, move: float, margin: float) -> "_Problem":
        top, rest = rows[:, 0], rows[:, 1:]
        need = ((rest + margin).cumsum(-1) + rows[:, :1]) / _count(rest, 2)
        return cls(top, rest, (rows + 1e-6).log(), (need.amax(-1) - top).clamp_min(move), margin)

    def range(self) -> tuple[Tensor, Tensor]:
        """The least and the largest answer of the top (N) that leave a feasible answer for the others."""
        levels = torch.cat([self.top[:, None], self.rest + self.margin], -1).sort(-1, descending=True).values
        total = levels.cumsum(-1)
        low = ((total - self.move[:, None]) / _count(levels)).amax(-1).maximum(total[:, -1] / levels.shape[-1])
        return low, (self.top + self.move).clamp_max(1.0).maximum(low)

    def others(self, h: Tensor) -> _Greedy:
        """The best others where the top answers `h` (N), each of them at most h − margin."""
        cap, cost = (h - self.margin)[:, None], self.cost[:, 1:]
        kept = self.rest.minimum(cap)  # what is above the cap must go
        gained, lost = (h - self.top).clamp_min(0), (self.top - h).clamp_min(0)
        free = ((1 - h)[:, None] - cap * (_count(kept) - 1).flip(-1)).clamp_min(0).minimum(cap)  # were L1 unlimited
        wanted = (free - self.rest).clamp_min(0).sum(-1) + gained
        moved = wanted.minimum(self.move)
        take = (moved - gained)[:, None]
        give = (moved - lost - (self.rest - kept).sum(-1)).clamp_min(0)[:, None]
        drained, filled = (
            kept.cumsum(-1),
            (cap - kept).flip(-1).cumsum(-1).flip(-1),
        )  # from the likely, the unlikely end
        q = kept + (take - filled + cap - kept).clamp_min(0).minimum(cap - kept)
        q -= (give - drained + kept).clamp_min(0).minimum(kept)
        # The prices of one more unit taken and given: those of the class that is only partly filled, partly drained.
        bound, last = wanted > self.move, kept.shape[-1] - 1
        partly = torch.where(bound, last - (filled <= take).sum(-1), (free <= 0).sum(-1)).clamp(0, last)
        taken = cost.gather(-1, partly[:, None])
        partly = torch.where(bound, (drained <= give).sum(-1).clamp_max(last), partly)
        given = cost.gather(-1, partly[:, None])
        capped = (cost - torch.where(self.rest < cap, taken, given)).clamp_max(0).sum(-1)
        slope = self.cost[:, 0] + capped - torch.where(h < self.top, given[:, 0], taken[:, 0])
        return _Greedy(q, self.cost[:, 0] * h + (cost * q).sum(-1), slope)

    def some(self, rows: Tensor) -> "_Problem":
        return _Problem(self.top[rows], self.rest[rows], self.cost[rows], self.move[rows], self.margin)


def _count(like: Tensor, first: int = 1) -> Tensor:
    return torch.arange(first, first + like.shape[-1], dtype=like.dtype, device=like.device)


def _lowest(problem: _Problem) -> Tensor:
    """Where the value is least (N): the tangents at both ends meet at a point that replaces one of the ends."""
    low, high = problem.range()
    best, at_low, at_high = low.clone(), problem.others(low), problem.others(high)
    best[at_high.slope <= FLAT] = high[at_high.slope <= FLAT]
    active = ((at_low.slope < -FLAT) & (at_high.slope > FLAT)).nonzero()[:, 0]
    best[at_low.slope >= -FLAT] = low[at_low.slope >= -FLAT]
    left, right = ((h[active], it.value[active], it.slope[active]) for h, it in ((low, at_low), (high, at_high)))
    problem = problem.some(active)
    while len(active):
        h = (right[1] - left[1] + left[2] * left[0] - right[2] * right[0]) / (left[2] - right[2])
        h = h.maximum(left[0]).minimum(right[0])
        met = problem.others(h)
        best[active] = h
        bound = left[1] + left[2] * (h - left[0])
        more = (met.value - bound > FLAT) & (met.slope.abs() > FLAT) & (h > left[0]) & (h < right[0])
        here = (h, met.value, met.slope)
        falls = met.slope < 0
        left = tuple(torch.where(falls, new, old)[more] for new, old in zip(here, left, strict=True))
        right = tuple(torch.where(falls, old, new)[more] for new, old in zip(here, right, strict=True))
        active, problem = active[more], problem.some(more)
    return best
