"""Linear programs over answers: the least cost · q within an L1 distance of p, for all rows at once and exactly."""

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 2**17  # numbers worked on at once, so that they stay in the cache: 10,000 rows of 1,000 take 2.0 s, not 6.7
FLAT = 1e-9  # a slope or a gain below this is none: a flat optimum must not depend on the last bit


def least_cost(cost: Tensor, p: Tensor, epsilon: float) -> Tensor:
    """The q (N, K) on the simplex with the least cost · q and ‖q − p‖₁ ≤ ε, for `cost` (N, K) and rows `p`.

    ε/2 goes to the class of the least cost, the first one among equals, taken from those of the largest costs.
    """
    rows = p.double()
    rows = rows / rows.sum(-1, keepdim=True)
    target = cost.argmin(-1, keepdim=True)
    give = rows.scatter(-1, target, 0.0)
    order = cost.argsort(dim=-1, descending=True, stable=True)
    sorted_give = give.gather(-1, order)
    before = sorted_give.cumsum(-1) - sorted_give
    taken = (epsilon / 2 - before).clamp_min(0).minimum(sorted_give)
    left = (rows - torch.zeros_like(rows).scatter(-1, order, taken)).clamp_min(0)
    return left.scatter_add(-1, target, taken.sum(-1, keepdim=True)).to(p.dtype)


def least_cost_with_label(cost: Tensor, p: Tensor, epsilon: float, margin: float) -> Tensor:
    """As `least_cost`, with the label of `p` at least `margin` above every other class. `cost` of a size near 1.

    For a given q_label the best others are greedy: the cheapest are filled up to the cap, the dearest are drained. The
    least cost is convex and piecewise linear in q_label, so that its minimum is where two of its tangents meet. Where a
    row tied at its top leaves no such q, ε is exceeded by as little as the margin asks for, at most 2 · margin.
    """
    chunks = (it.split(max(1, CHUNK // p.shape[-1])) for it in (cost, p))
    return torch.cat([_with_label(c, rows, epsilon / 2, margin) for c, rows in zip(*chunks, strict=True)])


def _with_label(cost: Tensor, p: Tensor, move: float, margin: float) -> Tensor:
    label_first = cost.scatter(-1, p.argmax(-1, keepdim=True), torch.inf)
    order = label_first.argsort(dim=-1, descending=True, stable=True)
    rows = p.double().gather(-1, order)
    problem = _Problem.of(cost.double().gather(-1, order), rows / rows.sum(-1, keepdim=True), move, margin)
    best = _lowest(problem)
    q = torch.cat([best[:, None], problem.others(best).q], -1)
    return torch.empty_like(q).scatter_(-1, order, q).to(p.dtype)


class _Greedy(NamedTuple):
    """The best answers (N, K − 1) of the other classes for a given answer of the top, their value, and its slope."""

    q: Tensor
    value: Tensor
    slope: Tensor


class _Problem(NamedTuple):
    """Rows: the label's `top` (N), the `rest` (N, K − 1) from the dearest on, each `cost` (N, K), the `move` (N).

    `move` is ε/2, or what the margin asks for where that is more.
    """

    top: Tensor
    rest: Tensor
    cost: Tensor
    move: Tensor
    margin: float

    @classmethod
    def of(cls, cost: Tensor, rows: Tensor, move: float, margin: float) -> "_Problem":
        top, rest = rows[:, 0], rows[:, 1:]
        likely = rest.sort(-1, descending=True).values + margin
        need = (likely.cumsum(-1) + rows[:, :1]) / _count(rest, 2)
        return cls(top, rest, cost, (need.amax(-1) - top).clamp_min(move), margin)

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
        )  # from either end
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
