"""Exact linear programs over answers: the least cost · q within an L1 distance of p, for all rows at once."""

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 2**17  # numbers worked on at once, so that they stay in the cache: 10,000 rows of 1,000 take 2.0 s, not 6.7
FLAT = 1e-9  # a slope or a gain below this is none: a flat optimum must not depend on the last bit


def least_cost(cost: Tensor, p: Tensor, epsilon: float) -> Tensor:
    """Minimise cost · q over q on the simplex with ‖q − p‖₁ ≤ ε.

    ε/2 goes to the class of the least cost, the first one among equals, taken from those of the largest costs.

    Args:
        cost: Costs, (N, K).
        p: Clean answers, (N, K).
        epsilon: ε.

    Returns:
        The optimal q, (N, K).
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
    """Minimise cost · q as `least_cost`, with the label of `p` at least `margin` above every other class.

    For any q_label the best others are greedy: the cheapest are filled up to the cap, the most expensive are drained.
    The least cost is convex and piecewise linear in q_label, so that its minimum is where two of its tangents meet.
    Where a row tied at its top leaves no such q, ε is exceeded by as little as the margin needs, at most 2 · margin.

    Args:
        cost: Costs, (N, K), of a size near 1.
        p: Clean answers, (N, K).
        epsilon: ε.
        margin: Least lead of the label.

    Returns:
        The optimal q, (N, K).
    """
    chunks = (rows.split(max(1, CHUNK // p.shape[-1])) for rows in (cost, p))
    return torch.cat([_with_label(c, rows, epsilon / 2, margin) for c, rows in zip(*chunks, strict=True)])


def _with_label(cost: Tensor, p: Tensor, move: float, margin: float) -> Tensor:
    """Return the optimal q (N, K) for rows in one chunk, where `move` is ε/2."""
    label_first = cost.scatter(-1, p.argmax(-1, keepdim=True), torch.inf)
    order = label_first.argsort(dim=-1, descending=True, stable=True)
    rows = p.double().gather(-1, order)
    problem = _Problem.of(cost.double().gather(-1, order), rows / rows.sum(-1, keepdim=True), move, margin)
    best = _minimise(problem)
    q = torch.cat([best[:, None], problem.others(best).q], -1)
    return torch.empty_like(q).scatter_(-1, order, q).to(p.dtype)


class _Greedy(NamedTuple):
    """Best answers of the other classes at an answer of the top.

    Attributes:
        q: The answers, (N, K − 1).
        value: The cost, (N,).
        slope: Its slope in the answer of the top, (N,).
    """

    q: Tensor
    value: Tensor
    slope: Tensor


class _Problem(NamedTuple):
    """Linear programs, one for each row.

    Attributes:
        top: Clean answer of the label, (N,).
        rest: Clean answers of the others, the most expensive first, (N, K − 1).
        cost: Costs, (N, K).
        move: ε/2, or what the margin needs where that is more, (N,).
        margin: Least lead of the label.
    """

    top: Tensor
    rest: Tensor
    cost: Tensor
    move: Tensor
    margin: float

    @classmethod
    def of(cls, cost: Tensor, rows: Tensor, move: float, margin: float) -> "_Problem":
        """Return the problems for costs and rows (N, K), the label first."""
        top, rest = rows[:, 0], rows[:, 1:]
        likely = rest.sort(-1, descending=True).values + margin
        need = (likely.cumsum(-1) + rows[:, :1]) / _count(rest, 2)
        return cls(top, rest, cost, (need.amax(-1) - top).clamp_min(move), margin)

    def range(self) -> tuple[Tensor, Tensor]:
        """Return the least and the largest answer of the top (N,) that leave a feasible answer for the others."""
        levels = torch.cat([self.top[:, None], self.rest + self.margin], -1).sort(-1, descending=True).values
        total = levels.cumsum(-1)
        low = ((total - self.move[:, None]) / _count(levels)).amax(-1).maximum(total[:, -1] / levels.shape[-1])
        return low, (self.top + self.move).clamp_max(1.0).maximum(low)

    def others(self, h: Tensor) -> _Greedy:
        """Return the best others where the top answers `h` (N,), each of them at most h − margin."""
        cap, cost = (h - self.margin)[:, None], self.cost[:, 1:]
        rest = self.rest.minimum(cap)  # probability above the cap must go
        gained, lost = (h - self.top).clamp_min(0), (self.top - h).clamp_min(0)
        free = ((1 - h)[:, None] - cap * (_count(rest) - 1).flip(-1)).clamp_min(0).minimum(cap)  # were L1 unlimited
        wanted = (free - self.rest).clamp_min(0).sum(-1) + gained
        moved = wanted.minimum(self.move)
        take = (moved - gained)[:, None]
        give = (moved - lost - (self.rest - rest).sum(-1)).clamp_min(0)[:, None]
        drained, filled = rest.cumsum(-1), (cap - rest).flip(-1).cumsum(-1).flip(-1)  # from either end
        q = rest + (take - filled + cap - rest).clamp_min(0).minimum(cap - rest)
        q -= (give - drained + rest).clamp_min(0).minimum(rest)
        # The prices of one more unit taken and given: those of the class that is only partly filled, partly drained.
        bound, last = wanted > self.move, rest.shape[-1] - 1
        partly = torch.where(bound, last - (filled <= take).sum(-1), (free <= 0).sum(-1)).clamp(0, last)
        price_taken = cost.gather(-1, partly[:, None])
        partly = torch.where(bound, (drained <= give).sum(-1).clamp_max(last), partly)
        price_given = cost.gather(-1, partly[:, None])
        capped = (cost - torch.where(self.rest < cap, price_taken, price_given)).clamp_max(0).sum(-1)
        slope = self.cost[:, 0] + capped - torch.where(h < self.top, price_given[:, 0], price_taken[:, 0])
        return _Greedy(q, self.cost[:, 0] * h + (cost * q).sum(-1), slope)

    def select(self, rows: Tensor) -> "_Problem":
        """Return the problems of these rows."""
        return _Problem(self.top[rows], self.rest[rows], self.cost[rows], self.move[rows], self.margin)


def _count(like: Tensor, first: int = 1) -> Tensor:
    """Return the numbers from `first` on, as many as the columns of `like`."""
    return torch.arange(first, first + like.shape[-1], dtype=like.dtype, device=like.device)


def _minimise(problem: _Problem) -> Tensor:
    """Return where the value is least (N,): the tangents at both ends meet at a point that replaces one of the ends."""
    low, high = problem.range()
    best, at_low, at_high = low.clone(), problem.others(low), problem.others(high)
    best[at_high.slope <= FLAT] = high[at_high.slope <= FLAT]
    active = ((at_low.slope < -FLAT) & (at_high.slope > FLAT)).nonzero()[:, 0]
    best[at_low.slope >= -FLAT] = low[at_low.slope >= -FLAT]
    left, right = ((h[active], end.value[active], end.slope[active]) for h, end in ((low, at_low), (high, at_high)))
    problem = problem.select(active)
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
        active, problem = active[more], problem.select(more)
    return best
