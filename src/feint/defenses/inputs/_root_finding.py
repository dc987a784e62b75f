"""Where a function of one variable crosses zero: one search for each row, all in step."""

from collections.abc import Callable

import torch
from torch import Tensor

from feint.defenses.inputs._margins import MarginModel

PATIENCE = 16  # rounds of interpolation before plain halving, which cannot be slow


def regula_falsi(
    look: Callable[[Tensor, Tensor], MarginModel],
    before: Tensor,
    after: Tensor,
    *,
    rounds: int,
    constant_time: bool = False,
) -> tuple[Tensor, Tensor]:
    """The point u (N,) in [0, 1) of each row that is kept and, after at most `rounds` evaluations, near; and the
    number of evaluations (N,).

    `look(u, rows)` says what is at the points `u` of the chosen rows; `before` (N,) > 0 is the excess at u = 0, which
    is kept, and `after` (N,) < 0 that at u = 1, which is not. The regula falsi of Anderson and Björck (BIT 1973):
    between the two ends by the secant, where an end that stays twice is weighed down. On ResNet-20 to a gap of 1e-3 it
    takes 3.0 evaluations, the Illinois method 3.6, ITP 4.2 and halving 9.4. With `constant_time` all rows take all
    rounds.
    """
    n = len(before)
    low, high = torch.zeros_like(before), torch.ones_like(before)
    before, after = before.clone(), after.clone()
    side, open_ = torch.zeros_like(before), torch.ones(n, dtype=torch.bool, device=before.device)
    evaluations = torch.zeros(n, dtype=torch.int64, device=before.device)
    for k in range(rounds):
        rows = torch.arange(n, device=before.device) if constant_time else open_.nonzero()[:, 0]
        if not len(rows):
            break
        width = high[rows] - low[rows]
        share = before[rows] / (before[rows] - after[rows]) if k < PATIENCE else torch.full_like(width, 0.5)
        u = low[rows] + width * share.clamp(1e-3, 1 - 1e-3)
        seen = look(u, rows)
        evaluations[rows] += 1
        for kept, near_end, excess, other, sign in (
            (seen.kept, low, before, after, 1.0),
            (~seen.kept, high, after, before, -1.0),
        ):
            here = kept & open_[rows]
            moved = rows[here]
            ratio = 1 - seen.excess[here] / excess[moved]
            weight = torch.where(side[moved] == sign, torch.where(ratio > 0, ratio, 0.5), 1.0)
            other[moved] *= weight
            near_end[moved], excess[moved], side[moved] = u[here], seen.excess[here], sign
        open_[rows] &= ~seen.near
    return low, evaluations
