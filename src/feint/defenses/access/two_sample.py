"""Two-sample test of a client's recent queries against benign inputs, on the model's logits."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from feint.defenses.access._windows import pieces
from feint.defenses.access.privacy_cost import centred
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext, Fittable, learned_by
from feint.ledger import Account
from feint.query import Query
from feint.recipes.store import Weights
from feint.victims import logits

NAME = "TwoSample"


@dataclass(frozen=True)
class TwoSample(Fittable):
    """Kernel two-sample test of each window of a client's queries against benign ones (Gretton et al., JMLR 2012).

    The statistic is the squared maximum mean discrepancy between a window's logits W, less their mean, and those of
    benign inputs R. With k(a, b) = exp(−‖a − b‖² / 2σ²) and σ the median distance between benign ones it is, up to a
    constant::

        mean over i ≠ j of k(w_i, w_j)  −  2 mean k(w_i, r_j)

    `fit` computes it for `draws` windows of other benign inputs, and p is the rank among them. A test repeated at each
    window is wrong more and more often. Windows are therefore disjoint and bets are made on their p-values: M is the
    product of p^(−1/2) / 2 so far, and evidence = log max M / log(1/alpha). If p-values of honest windows are
    independent and at least uniform, an honest client is ever accused with probability ≤ alpha (Ville's inequality).

    That holds on average over sets of benign inputs. The owner's one set is not corrected for, and drawn windows
    overlap: `SequentialTest` makes that promise properly, and also sees what happens inside a window. The features, the
    bets and the defaults were chosen here. A client's memory is `window` rows of logits. Evidence changes when a window
    is full.

    Attributes:
        window: Queries in a window, 2 or more.
        alpha: Probability with which an honest client may ever be accused.
        reference: Benign logits R that are stored, 2 or more.
        draws: Windows from which p-values are ranked, 1 or more.
        benign: The benign logits, σ and the ranked statistics, set by `fit`.
    """

    cite: ClassVar[str] = "gretton2012kernel"
    window: int = 100
    alpha: float = 1e-3
    reference: int = 1000
    draws: int = 1000
    benign: Weights | None = None

    def __post_init__(self) -> None:
        if min(self.window, self.reference) < 2 or self.draws < 1 or not 0 < self.alpha < 1:
            raise BadRecipe(repr(self), "window and reference ≥ 2, draws ≥ 1, 0 < alpha < 1", "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this recipe with benign logits and the statistics of honest windows.

        The inputs must be none of the victim's training inputs, whose logits are surer than any client's.

        Raises:
            BadInput: if there are fewer than 6 windows of inputs.
        """
        if len(context.inputs) < 6 * self.window:
            raise BadInput(f"{len(context.inputs)} inputs", f"6 windows of {self.window} or more", "give more")
        generator = torch.Generator().manual_seed(context.seed)
        order = torch.randperm(len(context.inputs), generator=generator)
        chosen = order[: min(len(context.inputs), self.reference + max(2 * self.reference, 4 * self.window))]
        z = torch.cat([centred(logits(context.victim, context.inputs.inputs(rows))) for rows in chosen.split(500)])
        known = min(self.reference, len(z) // 3)
        points, honest = z[:known], z[known:]
        width = torch.pdist(points).median().clamp_min(1e-6)
        among, beside = kernel(honest, honest, width), kernel(honest, points, width).mean(-1)
        windows = [torch.randperm(len(honest), generator=generator)[: self.window] for _ in range(self.draws)]
        ranked = torch.stack([discrepancy(among[rows][:, rows], beside[rows]) for rows in windows]).sort().values
        return replace(self, benign=Weights.of({"points": points.clone(), "width": width, "ranked": ranked}))

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Record the logits of a query, and bet on the windows that it completes.

        Args:
            query: The query.
            z: Its undefended logits, (N, K).
            account: The client's account.

        Returns:
            The evidence of all complete windows.

        Raises:
            BadInput: if the number of classes is not the fitted one.
        """
        points = self._learned["points"]
        if z.shape[-1] != points.shape[-1]:
            raise BadInput(f"logits of {z.shape[-1]} classes", f"{points.shape[-1]}", "fit it to this victim")
        rows = centred(z.cpu())
        for before, piece in pieces(account, NAME, len(query), window=self.window):
            recent = account.rows(NAME)
            recent.append(rows[piece], most=self.window)
            if (before + piece.stop - piece.start) % self.window == 0:
                won = account.add_all({f"{NAME} bets": -math.log(2) - math.log(self.p_value(recent.tensor)) / 2})
                account.add(NAME, 0.0, floor=won[f"{NAME} bets"] / -math.log(self.alpha))
        return account.total(NAME)

    def p_value(self, rows: Tensor) -> float:
        """Return the p-value of a window.

        Args:
            rows: Centred logits of the window, (w, K).

        Returns:
            The share of honest windows, this one among them, that differ from benign logits at least as much.
        """
        points, width, ranked = (self._learned[name] for name in ("points", "width", "ranked"))
        statistic = discrepancy(kernel(rows, rows, width), kernel(rows, points, width).mean(-1))
        above = len(ranked) - int(torch.searchsorted(ranked, statistic))
        return (1 + above) / (1 + len(ranked))

    @property
    def _learned(self) -> dict[str, Tensor]:
        return dict(learned_by(self, self.benign, "benign logits"))


def kernel(a: Tensor, b: Tensor, width: Tensor) -> Tensor:
    """Return exp(−‖a_i − b_j‖² / 2σ²), (n, m)."""
    return torch.cdist(a, b).div(width).square().div(-2).exp()


def discrepancy(among: Tensor, beside: Tensor) -> Tensor:
    """Return the squared discrepancy, up to a constant.

    Args:
        among: Kernel among a window's rows, (w, w).
        beside: Mean kernel of each row with the benign ones, (w,).

    Returns:
        The statistic, a scalar.
    """
    n = len(among)
    return (among.sum() - among.diagonal().sum()) / (n * (n - 1)) - 2 * beside.mean()
